"""The errors of a worker for which Ray Train does not start the workers again."""

from typing import Any

from ray.train import UserCallback

from pd.engine.training.failures import out_of_memory


class NoRestart(UserCallback):  # type: ignore[misc]
    """Ends a training at once when a GPU's memory was too small for it: the next attempt would end as this one did.

    What a callback raises on Ray's controller is the training's end. The other workers, which wait for the one that failed,
    are ended with it.
    """

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        for error in worker_exceptions.values():
            if short := out_of_memory(error):
                raise short
