"""Stands in for a ready worker: `ready.py DESCRIPTOR` waits for its run, and is worker.py from then on."""

import runpy
import sys
from pathlib import Path

from superft_hf.engine.ready import take_run

if __name__ == "__main__":
    folder = take_run(int(sys.argv[1]))
    if folder is not None:
        sys.argv = [str(Path(__file__).with_name("worker.py")), str(folder)]
        runpy.run_path(sys.argv[0], run_name="__main__")
