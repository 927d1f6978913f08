"""``raftctl tls``: certificates for the traffic between peers, from a private authority."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from raftctl.errors import ExitCode
from raftctl.group import Entry, command, group
from raftctl.options import NODE_ID
from raftctl.output import Styled
from raftctl.session import Session, pass_session

if TYPE_CHECKING:
    from raftctl.pki import Described

_HERE = "raftctl.commands.tls"
_DAY = 24 * 3600

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


@group(
    "tls",
    {
        "Commands": {
            "init": Entry(f"{_HERE}:init", "Make the authority of a cluster."),
            "issue": Entry(f"{_HERE}:issue", "Make the certificates of nodes."),
            "revoke": Entry(f"{_HERE}:revoke", "Make certificates worthless."),
            "show": Entry(f"{_HERE}:show", "Say whose a certificate is, and until when."),
        }
    },
)
def tls() -> None:
    """Make the certificates that nodes of a group know each other by.

    A certificate names its node as raftd://CLUSTER/ID. Every node needs ca.crt, and its own
    node-ID.crt and node-ID.key; ca.key stays where it was made. No node is asked for any of
    this.
    """


@command("init")
@click.option("--cluster", required=True, metavar="NAME", help="What the cluster is called.")
@click.option(
    "--dir",
    "folder",
    type=FOLDER,
    default=Path("tls"),
    show_default=True,
    help="Where to write ca.crt and ca.key.",
)
@click.option(
    "--days",
    type=click.IntRange(1, 36500),
    default=3650,
    show_default=True,
    metavar="N",
    help="How long the authority is good for.",
)
@pass_session
def init(session: Session, cluster: str, folder: Path, days: int) -> None:
    """Make the authority of a cluster: ca.crt and ca.key.

    Whoever has ca.key can make a certificate of any node: keep it off the nodes.
    """
    from raftctl import pki

    if not pki.CLUSTER.fullmatch(cluster):
        raise click.BadParameter(
            "a name has 1 to 64 letters, digits, dots, dashes or underscores",
            param_hint="--cluster",
        )
    made = pki.make_authority(folder, cluster, days)
    out = session.out

    def human() -> None:
        out.line(f"{folder}/ca.crt  goes to every node (--tls-ca)")
        out.line(f"{folder}/ca.key  signs certificates; keep it here, and safe")
        out.note(f"next: raftctl tls issue 1 2 3 --dir {folder}")

    out.result(session.meta, _as_dict(made), human)


@command("issue")
@click.argument("ids", type=NODE_ID, nargs=-1, required=True, metavar="ID...")
@click.option(
    "--dir",
    "folder",
    type=FOLDER,
    default=Path("tls"),
    show_default=True,
    help="Where the authority is.",
)
@click.option("--out", type=FOLDER, help="Where to write to.  [default: as --dir]")
@click.option(
    "--days",
    type=click.IntRange(1, 36500),
    default=397,
    show_default=True,
    metavar="N",
    help="How long the certificates are good for.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="A host name or address to name as well, for other uses; raftd looks at the id.",
)
@click.option("--renew", is_flag=True, help="Replace what is there.")
@pass_session
def issue(
    session: Session,
    *,
    ids: tuple[int, ...],
    folder: Path,
    out: Path | None,
    days: int,
    hosts: tuple[str, ...],
    renew: bool,
) -> None:
    """Make the certificates of nodes: node-ID.crt and node-ID.key for each.

    A node that runs takes new files over by itself, within a minute or on raftctl reload.
    """
    from raftctl import pki

    target = out or folder
    made = [pki.issue(folder, id_, target, days, hosts, renew=renew) for id_ in dict.fromkeys(ids)]

    def human() -> None:
        for one in made:
            session.out.line(f"{one.path}  {one.name}  good for {days} days")
        first = made[0].node_id
        session.out.note(
            f"next, on node {first}: raftd --id {first} --tls-ca ca.crt "
            f"--tls-cert node-{first}.crt --tls-key node-{first}.key ..."
        )

    rows = [_as_dict(one) for one in made]
    session.out.result(session.meta, {"certificates": rows}, human, rows=rows)


@command("revoke")
@click.argument("files", type=FILE, nargs=-1, metavar="[CERT]...")
@click.option(
    "--dir",
    "folder",
    type=FOLDER,
    default=Path("tls"),
    show_default=True,
    help="Where the authority is.",
)
@pass_session
def revoke(session: Session, files: tuple[Path, ...], folder: Path) -> None:
    """Make certificates worthless: add them to ca.crl, and sign it anew.

    Give ca.crl to every node (--tls-crl). It is good for 30 days: without a CERT it is only
    signed anew, for another 30.
    """
    from raftctl import pki

    if files:
        session.confirm(f"Revoke {', '.join(map(str, files))}? It cannot be taken back.")
    crl, serials = pki.revoke(folder, files)
    session.out.result(
        session.meta,
        {"path": str(crl), "serials": serials, "days": pki.CRL_DAYS},
        lambda: session.out.line(
            f"{crl}  {len(serials)} revoked, good for {pki.CRL_DAYS} days  (--tls-crl, every node)"
        ),
    )


@command("show")
@click.argument("files", type=FILE, nargs=-1, required=True, metavar="CERT...")
@pass_session
@click.pass_context
def show(ctx: click.Context, session: Session, files: tuple[Path, ...]) -> None:
    """Say whose a certificate is, and until when; exits 7 when one has expired."""
    from raftctl import pki

    found = [pki.describe(file) for file in files]
    rows = [_as_dict(one) for one in found]
    out = session.out

    def human() -> None:
        now = time.time()
        cells = []
        for one in found:
            left = int((one.not_after - now) // _DAY)
            style = "red" if left < 0 else "yellow" if left < 30 else "green"
            cells.append(
                [
                    one.path,
                    one.name,
                    "authority" if one.authority else "node",
                    _date(one.not_after),
                    Styled(f"{left} days" if left >= 0 else "expired", style),
                    one.serial,
                ]
            )
        out.table(["FILE", "NAME", "KIND", "UNTIL", "LEFT", "SERIAL"], cells)

    out.result(session.meta, {"certificates": rows}, human, rows=rows)
    if any(one.not_after < time.time() for one in found):
        ctx.exit(ExitCode.CHECK_FAILED)


def _as_dict(one: Described) -> dict[str, Any]:
    return {
        "path": one.path,
        "name": one.name,
        "cluster": one.cluster,
        "node_id": one.node_id or None,
        "authority": one.authority,
        "issuer": one.issuer,
        "serial": one.serial,
        "sha256": one.sha256,
        "not_before": _date(one.not_before),
        "not_after": _date(one.not_after),
        "not_after_ms": int(one.not_after * 1000),
        "hosts": one.hosts,
    }


def _date(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
