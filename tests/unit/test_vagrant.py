"""The virtual machines: their description is valid, what provisions them is clean and has the lab's facts.

Whether the provisioning works is shown by ``vagrant/try-provisioning`` and ``vagrant/try-machines``,
which need the internet and minutes.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from vagrant.generate import GENERATED, files

ROOT = Path(__file__).parents[2]
VAGRANT = ROOT / "vagrant"
SCRIPTS = [
    file
    for room in ("script", "vagrant")
    for file in sorted((ROOT / room).rglob("*"))
    if file.is_file() and re.match(rb"#!/bin/(ba)?sh\n|# shellcheck shell=", file.read_bytes())
]


def run(*words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, capture_output=True, text=True, cwd=ROOT, env=os.environ | environment, check=False
    )


def validate(home: Path, *words: str, provider: str, topology: str) -> tuple[int, str]:
    """The status and all output of ``vagrant validate``, which keeps its files in *home*."""
    done = run(
        "vagrant",
        "validate",
        *words,
        PATH=f"{home}:{os.environ['PATH']}",
        VAGRANT_CWD=str(VAGRANT),
        VAGRANT_HOME=str(home / "home"),
        VAGRANT_DOTFILE_PATH=str(home / "state"),
        VAGRANT_CHECKPOINT_DISABLE="1",
        VAGRANT_DEFAULT_PROVIDER=provider,
        NFINSPECT_TOPOLOGY=topology,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("topology", ["routed", "bridged"])
@pytest.mark.parametrize("provider", ["libvirt", "virtualbox"])
def test_vagrantfile_is_valid(tmp_path: Path, provider: str, topology: str) -> None:
    status, said = validate(tmp_path, "--ignore-provider", provider=provider, topology=topology)
    assert status == 0, said
    assert "validated successfully" in said
    assert all(f"{name}: Ignoring provider" in said for name in ("client", "filter", "server"))


@pytest.mark.parametrize("provider", ["libvirt", "virtualbox"])
def test_vagrantfile_is_valid_with_what_it_tells_the_provider(
    tmp_path: Path, provider: str
) -> None:
    # Vagrant asks VirtualBox nothing but its version.
    program = tmp_path / "VBoxManage"
    program.write_text("#!/bin/sh\necho 7.0.20r163906\n")
    program.chmod(0o755)
    status, said = validate(tmp_path, provider=provider, topology="")
    assert status == 0, said
    assert "validated successfully" in said


def test_unknown_topology_is_refused(tmp_path: Path) -> None:
    status, said = validate(
        tmp_path, "--ignore-provider", provider="virtualbox", topology="transparent"
    )
    assert status != 0
    assert "must be one of: routed, bridged" in said


def test_machines_have_the_facts_of_the_lab() -> None:
    assert {file.name: file.read_text() for file in GENERATED.iterdir()} == files(), (
        "run: python -m vagrant.generate"
    )


def test_machines_have_no_packages_but_those_of_the_lab() -> None:
    setup = (ROOT / "script/setup").read_text()
    lists = re.findall(r"^(?:run|build|lab)_packages=\((.*?)^\)", setup, re.DOTALL | re.MULTILINE)
    known = {word for text in lists for word in re.sub("#.*", "", text).split()}
    for machine in ("client", "filter", "server"):
        text = (VAGRANT / "provision" / machine).read_text()
        (packages,) = re.findall(r"^install_packages (.*)$", text, re.MULTILINE)
        assert set(packages.split()) <= known, machine


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.relative_to(ROOT)))
def test_shellcheck_has_nothing_to_say(script: Path) -> None:
    done = run("shellcheck", "-x", "-P", "SCRIPTDIR", "-P", ".", script)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_scripts_are_checked() -> None:
    names = {str(script.relative_to(ROOT)) for script in SCRIPTS}
    assert {"script/setup", "script/environment", "vagrant/try-provisioning"} <= names
    assert {f"vagrant/provision/{name}" for name in ("client", "filter", "server")} <= names
