import pytest
from PySide6.QtGui import QColor, QImage

from bilin_app.theme.palette import DARK, LIGHT
from bilin_app.tour import SCENES, SIZE, VARIANTS, render_tour

pytestmark = [pytest.mark.gui, pytest.mark.usefixtures("qapp")]


@pytest.mark.parametrize(("scheme", "language"), [("light", "zh"), ("dark", "en")])
def test_every_state_renders(tmp_path, scheme, language):
    names = ("streaming", "error", "settings")
    paths = render_tour(tmp_path, variants=((scheme, language),), scenes=names)
    assert sorted(path.name for path in paths) == sorted(
        f"{name}-{language}-{scheme}.png" for name in names
    )
    paper = QColor((LIGHT if scheme == "light" else DARK).paper)
    pictures = [QImage(str(path)) for path in paths]
    for picture in pictures:
        assert (picture.width(), picture.height()) == SIZE
        assert picture.pixelColor(2, 2) == paper
    assert pictures[0] != pictures[1] != pictures[2]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_all_states_in_all_variants_render_and_differ(tmp_path):
    paths = render_tour(tmp_path)
    assert len(paths) == len(SCENES) * len(VARIANTS)
    assert len({path.read_bytes() for path in paths}) == len(paths)


def test_an_unknown_scene_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no scene nothing; there are first-run"):
        render_tour(tmp_path, scenes=("nothing",))
