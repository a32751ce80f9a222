"""Ctrl-C at moments at which Python drops what a signal raises, and when a process ends."""

import os
import signal
import subprocess
import sys

import pytest

BEGIN = """
import gc, os, signal, sys, time
from iassf_jax.cli.interrupts import heard

signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started without it

def ctrl_c(*_):
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0)  # Python looks for signals

class Last:
    __del__ = ctrl_c

def in_gc():
    gc.callbacks.append(lambda phase, _: gc.callbacks.clear() or ctrl_c())
    gc.collect()

def in_del():
    last = Last()
    del last
"""
DROPPED = """
with heard():
    try:
        moment()
        time.sleep(60)
        print("lost")
    except KeyboardInterrupt:
        print("heard", flush=True)
ctrl_c()
print("not ended")
"""
ELSEWHERE = """
with heard():
    ctrl_c()
    time.sleep(60)
"""


def run(script):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.run([sys.executable, "-c", BEGIN + script], capture_output=True, env=environment, timeout=100)
    return process.returncode, process.stdout.decode(), process.stderr.decode()


@pytest.mark.parametrize("moment", ["in_gc", "in_del"])
def test_an_interrupt_that_python_drops_comes_again(moment):
    assert run(DROPPED.replace("moment", moment)) == (-signal.SIGINT, "heard\n", "")


def test_an_interrupt_that_no_command_sees_to_is_quiet():
    assert run(ELSEWHERE) == (130, "", "")
