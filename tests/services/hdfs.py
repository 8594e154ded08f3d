"""HDFS: one namenode and its datanodes, each a process that can be killed and started again over its folder."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.sax.saxutils import escape

from tests.services import downloads
from tests.services.programs import LOOPBACK, Programs, free_ports

HEAP = ("-Xmx256m", "-Xms32m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.awt.headless=true")
LOGGING = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")
CLASSES = "org.apache.hadoop.hdfs.server."
NAMENODE = "namenode"
LIVE = "Hadoop:service=NameNode,name=FSNamesystemState"
BLOCKS = "Hadoop:service=NameNode,name=FSNamesystem"
INFO = "Hadoop:service=NameNode,name=NameNodeInfo"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass
class Hdfs:
    """A running file system; whoever started it is its superuser. A dead datanode is noticed after about 10 s."""

    uri: str
    http: str
    conf: Path
    datanodes: list[str]
    programs: Programs = field(repr=False)

    def kill(self, name: str) -> None:
        """As a crash: "namenode", "datanode1", ..."""
        self.programs.kill(name)

    def restart(self, name: str) -> None:
        """Start a killed one again over its folder; returns when the file system is whole again."""
        before = self._datanode_addresses()
        self.programs.again(name)
        # the namenode goes on believing in a killed datanode for a while: wait for the one that came back
        self.programs.wait_until(
            lambda: self.ready() and (name == NAMENODE or self._datanode_addresses() != before), what="HDFS"
        )

    def ready(self) -> bool:
        """Whether every datanode lives, each block is somewhere (a datanode reports its blocks last) and safe mode is off."""
        whole = int(self._bean(BLOCKS).get("MissingBlocks", -1)) == 0
        return whole and self.live_datanodes() >= len(self.datanodes) and not self._bean(INFO).get("Safemode", "?")

    def live_datanodes(self) -> int:
        """How many the namenode believes to be there; -1 when it does not answer."""
        return int(self._bean(LIVE).get("NumLiveDataNodes", -1))

    def _datanode_addresses(self) -> set[str]:
        nodes: dict[str, dict[str, str]] = json.loads(self._bean(INFO).get("LiveNodes", "{}"))
        return {node["xferaddr"] for node in nodes.values()}

    def shell(self, *arguments: str, user: str | None = None) -> str:
        """`hdfs dfs` as that user: "-mkdir", "/x"; what it printed. CalledProcessError when it fails."""
        variables = {**_own(), **({"HADOOP_USER_NAME": user} if user else {})}
        return _hadoop(self.conf, "org.apache.hadoop.fs.FsShell", *arguments, variables=variables)

    def admin(self, *arguments: str) -> str:
        """`hdfs dfsadmin`: "-safemode", "enter"; what it printed. CalledProcessError when it fails."""
        return _hadoop(self.conf, "org.apache.hadoop.hdfs.tools.DFSAdmin", *arguments, variables=_own())

    def _bean(self, name: str) -> dict[str, str]:
        try:
            with _DIRECT.open(f"{self.http}/jmx?qry={name}", timeout=5) as answer:
                beans: list[dict[str, str]] = json.load(answer)["beans"]
        except (OSError, ValueError):
            return {}
        return beans[0] if beans else {}


@contextlib.contextmanager
def hdfs(folder: Path, *, datanodes: int = 1) -> Iterator[Hdfs]:
    """A freshly formatted file system with that many datanodes."""
    rpc, http = free_ports(2)
    names = [f"datanode{number}" for number in range(1, datanodes + 1)]
    _write_conf(folder / NAMENODE, rpc, http)
    _hadoop(folder / NAMENODE, f"{CLASSES}namenode.NameNode", "-format", "-nonInteractive", variables=_own())
    with Programs(folder) as programs:
        namenode = _command(folder / NAMENODE, f"{CLASSES}namenode.NameNode")
        programs.start(NAMENODE, namenode, environment=_own())
        for name in names:
            _write_conf(folder / name, rpc, http)
            datanode = _command(folder / name, f"{CLASSES}datanode.DataNode")
            programs.start(name, datanode, environment=_own())
        system = Hdfs(f"hdfs://{LOOPBACK}:{rpc}", f"http://{LOOPBACK}:{http}", folder / NAMENODE, names, programs)
        programs.wait_until(system.ready, what="HDFS")
        yield system


def _write_conf(folder: Path, rpc: int, http: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    anywhere = f"{LOOPBACK}:0"
    settings = {
        "fs.defaultFS": f"hdfs://{LOOPBACK}:{rpc}",
        "dfs.namenode.rpc-address": f"{LOOPBACK}:{rpc}",
        "dfs.namenode.http-address": f"{LOOPBACK}:{http}",
        "dfs.namenode.name.dir": str(folder / "name"),
        "dfs.datanode.data.dir": str(folder / "data"),
        "dfs.datanode.address": anywhere,
        "dfs.datanode.ipc.address": anywhere,
        "dfs.datanode.http.address": anywhere,
        "dfs.replication": "1",
        "dfs.permissions.enabled": "true",
        "dfs.namenode.datanode.registration.ip-hostname-check": "false",
        # a datanode is dead after 2 x 1 s and 10 missed heartbeats, a restarted namenode ready at once
        "dfs.heartbeat.interval": "1s",
        "dfs.namenode.heartbeat.recheck-interval": "1000",
        "dfs.namenode.safemode.extension": "0",
        "dfs.blockreport.initialDelay": "0s",
    }
    lines = [
        f"<property><name>{name}</name><value>{escape(value)}</value></property>" for name, value in settings.items()
    ]
    text = "\n".join(["<configuration>", *lines, "</configuration>", ""])
    for file in ("core-site.xml", "hdfs-site.xml"):
        (folder / file).write_text(text, encoding="utf-8")


def _own() -> dict[str, str]:
    """This process's variables; the file system belongs to whoever runs it, whom clients of this process act for or not."""
    return {name: value for name, value in os.environ.items() if name != "HADOOP_USER_NAME"}


def _hadoop(conf: Path, main: str, *arguments: str, variables: dict[str, str]) -> str:
    command = [*_command(conf, main), *arguments]
    return subprocess.run(command, env=variables, check=True, capture_output=True, text=True, timeout=300).stdout


def _command(conf: Path, main: str) -> list[str]:
    jars = downloads.maven_jars(downloads.HADOOP, downloads.SLF4J)
    return ["java", *HEAP, *LOGGING, "-cp", os.pathsep.join([str(conf), *map(str, jars)]), main]
