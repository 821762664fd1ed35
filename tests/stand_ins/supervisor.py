"""A supervisor in a process of its own, with stand-ins as workers: `supervisor.py HOME IDLE_S SHUTDOWN_S`.

With `ready` behind it, it also keeps a stand-in that waits for its run.
"""

import sys
from pathlib import Path

from superft_hf.engine.launcher import Launcher
from superft_hf.engine.supervisor import Pace, run_supervisor

if __name__ == "__main__":
    waiting = (str(Path(__file__).with_name("ready.py")),) if "ready" in sys.argv[4:] else ()
    launcher = Launcher(worker=(str(Path(__file__).with_name("worker.py")),), ready=waiting)
    pace = Pace(idle_s=float(sys.argv[2]), poll_s=0.1, shutdown_s=float(sys.argv[3]))
    sys.exit(run_supervisor(Path(sys.argv[1]), launcher, pace))
