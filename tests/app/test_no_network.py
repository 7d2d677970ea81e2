"""Starting the window opens no way to anywhere: no socket but those of this machine."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

SCRIPT = str(Path(__file__).parents[1] / "helpers" / "scripted_engine.py")

START = textwrap.dedent(
    """
    import sys
    asked = []

    def watch(event, arguments):
        if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
            asked.append((event, repr(arguments)))

    sys.addaudithook(watch)
    import os
    from pathlib import Path
    import psutil
    from PySide6.QtWidgets import QApplication
    from bilin_app.application import Application
    from bilin_app.engine_client.process import EngineCommand
    from bilin_app.paths import app_paths
    from bilin_app.single_instance import InstanceServer

    app = QApplication([])
    paths = app_paths(Path(sys.argv[1]))
    server = InstanceServer(paths.data_dir, app)
    application = Application(app, paths, EngineCommand(sys.executable, ("-P", sys.argv[2])))
    found = set()

    def look(_view=None):
        me = psutil.Process()
        for process in (me, *me.children(recursive=True)):
            found.update(str(c) for c in process.net_connections("inet"))

    application.engine.view_changed.connect(look)
    application.engine.ready.connect(lambda _model: app.quit())
    application.show()
    for page in ("editor", "models", "settings", "chat"):
        application.window.show_page(page)
    code = app.exec()
    look()
    print(application.engine.view.state, asked, sorted(found))
    """
)


def test_the_window_and_its_engine_start_without_a_socket(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", START, str(tmp_path), SCRIPT],
        capture_output=True,
        text=True,
        check=False,
        timeout=55,
        env={
            **os.environ,
            "QT_QPA_PLATFORM": "offscreen",
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        },
    )
    assert done.stdout.strip() == "ready [] []", done.stderr
