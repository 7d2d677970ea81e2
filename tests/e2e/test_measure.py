"""A model's speed through all processes: measured in its worker, kept, used by the next plan."""

import pytest
from tiny_model import write_tiny_model

from bilin_engine.cli.session import Session
from bilin_engine.errors import BilinError
from bilin_engine.library import Library
from bilin_engine.protocol import (
    LoadModel,
    LoadSettings,
    MeasureModel,
    ModelLoaded,
    PlanModel,
    PlanResult,
    PlanSettings,
    Progress,
    SpeedMeasured,
)
from bilin_engine.server.model_text import ModelTexts
from bilin_engine.server.supervisor import SupervisorSettings

pytestmark = [pytest.mark.e2e]


def test_a_measurement_is_kept_and_feeds_the_plan(tmp_path):
    models_dir = tmp_path / "models"
    write_tiny_model(models_dir)
    library = Library(models_dir, bundled_dir=tmp_path / "none")
    with Session(ModelTexts(library), SupervisorSettings()) as session:
        with pytest.raises(BilinError, match="not loaded"):
            session.ask(lambda i: MeasureModel(i, "tiny"), SpeedMeasured)
        loading, measuring = [], []
        settings = LoadSettings(context=128, num_threads=1, device="cpu")
        session.ask(
            lambda i: LoadModel(id=i, model="tiny", settings=settings), ModelLoaded, loading.append
        )
        told = session.ask(lambda i: MeasureModel(i, "tiny"), SpeedMeasured, measuring.append)
        wanted = PlanSettings(context=128)
        planned = session.ask(lambda i: PlanModel(id=i, model="tiny", settings=wanted), PlanResult)
    speed = told.speed
    assert speed.devices == ("cpu",)
    assert speed.prompt_tokens == 64
    assert speed.bytes_per_token > 0
    assert library.find("tiny").speed == speed
    fractions = [event.fraction for event in measuring if isinstance(event, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1.0
    assert planned.is_measured
    # The plan reads a full context, the measurement half of one: the rate can only be lower.
    assert 0 < planned.decode_tok_s <= speed.decode_tok_s * 1.001
    parts = [e for e in loading if isinstance(e, Progress) and e.stage == "weights"]
    assert any(part.eta_s is not None for part in parts)
    assert parts[-1].eta_s == 0.0
