"""A supervisor in a process of its own whose workers are stand-ins: `supervisor.py HOME IDLE_S`."""

import sys
from pathlib import Path

from superft_hf.engine.launcher import Launcher
from superft_hf.engine.supervisor import run_supervisor

if __name__ == "__main__":
    launcher = Launcher(worker=(str(Path(__file__).with_name("worker.py")),))
    sys.exit(run_supervisor(Path(sys.argv[1]), launcher, idle_s=float(sys.argv[2]), poll_s=0.1))
