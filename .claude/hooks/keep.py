"""Keeps a run on its rails: frozen files frozen after each call, the loop going on.

PostToolUse: the gate lets no call through while a frozen file differs, so one that
differs now was changed by this call: it is put back, its content saved in .git.
Stop: the turn goes on unless the run has an exit.
"""

import json
import re
import runpy
import shutil
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
runpy.run_path(str(HERE / ".claude" / "harness" / "from_source.py"))

from harness.ratchet import (
    FROZEN,
    Refused,
    changed_files,
    check_frozen_files,
    current_run,
    git,
    run_base,
)

# An exit, said at the start of a line: HALT: reason, **HALT** - reason.
HALT = r"^\W*(?:HALT|Halt)\b\W+\w"


def put_back():
    """Restore the frozen files that the call has changed; their names and the copy."""
    base = run_base(current_run())
    changed = changed_files(base, FROZEN)
    if not changed:
        return None
    git_dir = Path(git("rev-parse", "--absolute-git-dir"))
    rescue = git_dir / "autoresearch-rescued" / time.strftime("%Y%m%dT%H%M%S")
    for name in changed:
        if (HERE / name).is_file():
            (rescue / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(HERE / name, rescue / name)
    git("restore", f"--source={base}", "--worktree", "--", *changed)
    return f"{', '.join(changed)}: frozen in a run, put back (changes: {rescue})"


def after_call(call):
    """What the agent is told after a call, or None."""
    try:
        return put_back()
    except Refused:
        # Not on a run yet: nothing is frozen.
        return None


def at_stop(call):
    """Why the turn may not end, or None if the run has an exit."""
    said = call.get("last_assistant_message") or ""
    # Plan mode only the user can leave.
    if re.search(HALT, said, re.MULTILINE) or call.get("permission_mode") == "plan":
        return None
    try:
        check_frozen_files()
    except Refused:
        return None
    # Not before prepare.py is known to be what it was.
    from prepare import state

    try:
        summary, next_step = state()
    except Refused as refused:
        return f"{refused}: do the Setup of program.md, or end with HALT: and a reason."
    if next_step.startswith("halt"):
        return None
    return (
        "The user has started this loop by /autoresearch, and it never ends by itself. "
        f"{summary}; next: {next_step}. If the user has asked something, answer; if it "
        "was to stop, write HALT: the user asked."
    )


if __name__ == "__main__":
    call = json.load(sys.stdin)
    told = (at_stop if call["hook_event_name"] == "Stop" else after_call)(call)
    if told:
        print(json.dumps({"decision": "block", "reason": told}))
