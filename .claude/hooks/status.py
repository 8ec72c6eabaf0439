"""Says where the run stands: as the status line, and after a compaction."""

import json
import runpy
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
runpy.run_path(str(HERE / ".claude" / "harness" / "from_source.py"))

from harness.ratchet import PREFIX, Refused
from prepare import state

if __name__ == "__main__":
    call = json.load(sys.stdin)
    try:
        summary, next_step = state()
    except Refused:
        # An ordinary chat, not on a run.
        sys.exit()
    if call.get("source") == "resume":
        tag = summary.partition(" ")[0].removeprefix(PREFIX)
        print("The rules of /autoresearch do not hold in a resumed session. To go on,")
        print(f"ask the user to type /autoresearch {tag}, and make no call before.")
    elif call.get("hook_event_name") == "SessionStart":
        print("If /autoresearch runs here, the loop goes on.", end=" ")
        print(f"{summary}; next: {next_step}")
    else:
        cost = (call.get("cost") or {}).get("total_cost_usd") or 0
        print(f"{summary} · ${cost:.2f}")
