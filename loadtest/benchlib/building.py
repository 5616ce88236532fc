"""Builds what is to be measured; on a fresh machine with the packages that this takes, and no others."""

import os
import subprocess

from .machine import CannotMeasure


def _run(root, command):
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=1800)
    except FileNotFoundError:
        raise CannotMeasure(f"{command[0]} is missing: deploy/packages.sh $(cat deploy/build-packages.txt)") from None
    if done.returncode != 0:
        raise CannotMeasure(f"{' '.join(command)} failed:\n{(done.stdout + done.stderr)[-3000:]}")


def build(root, preset, targets, say):
    """A tree that is configured already stays so: it may be one that builds tests, too, or stems from other packages."""
    if not os.path.exists(os.path.join(root, "build", preset, "build.ninja")):
        with open(os.path.join(root, "deploy", "build-packages.txt"), encoding="ascii") as file:
            packages = file.read().split()
        say(f"packages that the build needs: {' '.join(packages)}")
        _run(root, [os.path.join(root, "deploy", "packages.sh"), *packages])
        _run(root, ["cmake", "--preset", preset, "-DBUILD_TESTING=OFF"])
    say(f"building ({preset})")
    _run(root, ["cmake", "--build", "--preset", preset, "--target", *targets])
