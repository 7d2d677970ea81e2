"""Says when a loss is a spike: far above what the last steps were like."""

import math
from dataclasses import dataclass

_KINDS_APART = 4.0  # nats per token: running text at about 4, answers known by heart at about 0


def spike_margin(batches_per_step: int) -> float:
    """The `margin` for updates of so many batches: 8 / sqrt(batches), from 0.5 to 4.

    A batch holds samples of one length, hence mostly of one kind, and kinds lie 4 nats apart. The
    mean over n batches strays by the rare kinds among them: by all 4 nats while a handful may be of
    one kind, then by some five deviations, however many tokens they have. 0.5 and 2.8 both rolled
    back healthy runs of two batches an update, whenever both were running text. A spike worth going
    back for ends higher, near the logarithm of the vocabulary.
    """
    return max(0.5, min(_KINDS_APART, 2 * _KINDS_APART / math.sqrt(batches_per_step)))


@dataclass(slots=True)
class SpikeGuard:
    """A running mean and deviation of the loss; feed it one loss a step.

    A loss is a spike when it is not finite, or above mean + `sigmas` deviations and above mean +
    `margin` (nats per token, so that a calm stretch with a tiny deviation is not oversensitive; see
    `spike_margin`). The first `calm_steps` losses only teach it. A spike is not learnt from.
    """

    sigmas: float = 6.0
    margin: float = 0.5
    calm_steps: int = 50
    decay: float = 0.98
    mean: float = 0.0
    variance: float = 0.0
    num_seen: int = 0

    def is_spike(self, loss: float) -> bool:
        """Whether `loss` is one; otherwise it is learnt from."""
        if not math.isfinite(loss):
            return True
        if self.num_seen >= self.calm_steps:
            limit = self.mean + max(self.margin, self.sigmas * math.sqrt(self.variance))
            if loss > limit:
                return True
        keep = min(self.decay, self.num_seen / (self.num_seen + 1))
        self.variance = keep * (self.variance + (1 - keep) * (loss - self.mean) ** 2)
        self.mean = keep * self.mean + (1 - keep) * loss
        self.num_seen += 1
        return False

    def forget(self) -> None:
        """Takes whatever comes next for the new usual."""
        self.restore((0.0, 0.0, 0))

    def state(self) -> tuple[float, float, int]:
        """What `restore` needs."""
        return self.mean, self.variance, self.num_seen

    def restore(self, state: tuple[float, float, int]) -> None:
        """Back to an earlier `state`."""
        self.mean, self.variance, self.num_seen = state
