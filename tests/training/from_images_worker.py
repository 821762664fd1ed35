"""The worker, which trains a head from images, as if features could not be kept; started by a test."""

import sys

from superft_hf.training import trainer, worker

if __name__ == "__main__":
    trainer.may_keep_features = lambda *_: False
    sys.exit(worker.main(sys.argv[1]))
