"""What is made of Ray's errors."""

import pytest

from framework._executors.ray_tune.callback import reason_of

# As Ray 2.60 writes them to a trial's error.txt, but for ids.
HEAD = "Failure # 1 (occurred at 2026-11-24_18-54-08)\n"
KILLED = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker \
unexpectedly exits with a connection error code 2. End of file. There are some potential root causes. (1) The process \
is killed by SIGKILL by OOM killer due to high memory usage. (2) ray stop --force is called. (3) The worker is crashed \
unexpectedly due to SIGSEGV or other unexpected errors.
"""
NO_MEMORY = """1 worker(s) were killed due to the node running low on memory. Memory on the node \
(IP: 127.0.0.1, ID: 41a25c) was 22.65GB used / 23.54GB limit (0.962)
OOM kill reason: Memory usage 24320000000B exceeded threshold of 24012688588B (95.0% of 25276514304B limit)
Top 10 memory users: PID\tMEM(GB)\tCOMMAND
"""
CANCELLED = """The actor died unexpectedly before finishing this task.
\tclass_name: ImplicitFunc
The actor is dead because all references to the actor were removed including lineage ref count.
The actor never ran - it was cancelled before it started running.
"""
NODE_DIED = """The actor died because its node has died. Node Id: 08c938b6e631524154b760f2dca14084fde6fe87
\tthe actor's node was terminated: Termination is unexpected.
"""
UNAVAILABLE = """The actor 0fdf33ca34910a9b848998db01000000 is unavailable: The actor is temporarily unavailable: \
RpcError: RPC error: Socket closed rpc_code: 14. The task may or may not have been executed on the actor.
"""


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("", "its worker process died: it was killed, ran out of memory, or crashed in native code"),
        (KILLED, "its worker process died: it was killed, ran out of memory, or crashed in native code"),
        (
            NO_MEMORY,
            "Ray ended its worker as memory ran low (22.65GB used / 23.54GB): run fewer trials at once "
            "(--max-concurrent), or smaller batches",
        ),
        (NODE_DIED, "its machine, or the connection to it, was lost"),
        (UNAVAILABLE, "its machine, or the connection to it, was lost"),
        (CANCELLED, "Ray could not run it: The actor never ran - it was cancelled before it started running."),
    ],
)
def test_a_trial_that_has_not_said_why_it_ended_has_rays_reason(said: str, reason: str) -> None:
    assert reason_of(HEAD + said if said else said) == reason
