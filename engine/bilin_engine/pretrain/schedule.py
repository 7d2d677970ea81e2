"""Learning rate, batch size and rounding as functions of how much of a run is done."""

import math
from datetime import datetime, timedelta

from bilin_engine.pretrain.run_folder import Progress, TrainSettings


def share_done(progress: Progress, settings: TrainSettings) -> float:
    """0 to 1: of the updates, or of `schedule_seconds` where the run has a fixed time."""
    if settings.schedule_seconds:
        return min(1.0, progress.scheduled / settings.schedule_seconds)
    return min(1.0, progress.step / max(1, settings.steps))


def learning_rate(progress: Progress, settings: TrainSettings) -> float:
    """Linear warm-up over warmup_steps, then cosine to final_learning_rate_share at the end."""
    peak, floor = settings.learning_rate, settings.final_learning_rate_share
    if progress.step < settings.warmup_steps:
        return peak * (progress.step + 1) / settings.warmup_steps
    done = share_done(progress, settings)
    if not settings.schedule_seconds:  # the cosine begins where the warm-up ends
        warmup = settings.warmup_steps / max(1, settings.steps)
        done = (done - warmup) / max(1e-9, 1 - warmup)
    return peak * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


def num_batches(step: int, settings: TrainSettings) -> int:
    """Batches of update `step`, over all processes: grows linearly to batches_per_step."""
    first, last = settings.first_batches_per_step, settings.batches_per_step
    if step >= settings.batch_warmup_steps:
        return last
    return first + (last - first) * step // settings.batch_warmup_steps


def is_rounding(progress: Progress, settings: TrainSettings) -> bool:
    """Whether this update computes with INT4-rounded weights: the last fake_quant_share."""
    share = settings.fake_quant_share
    return share > 0 and share_done(progress, settings) >= 1 - share


def end_of_run(now: datetime, hour: int, minute: int, seconds: float) -> datetime:
    """When a run of so many seconds ends that is to end at hour:minute.

    The next such time, after midnight if need be; the last one where the next is further away than
    a run takes: it is over then, and was only asked for again.
    """
    end = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
    if end <= now:
        end += timedelta(days=1)
    return end if (end - now).total_seconds() <= seconds else end - timedelta(days=1)
