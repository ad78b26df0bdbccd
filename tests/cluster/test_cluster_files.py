"""What `cluster/` ships: valid against its schemas, of one version with the package, closed to the network."""

import ast
import json
import re
import shutil
import subprocess
import tomllib
import zipfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from ray._private.ray_constants import DEFAULT_DASHBOARD_AGENT_LISTEN_PORT, get_runtime_env_default_excludes
from ray._private.runtime_env.packaging import _zip_files
from terminal import ROOT

from pd import __version__
from pd.config import ModelSettings, load_settings
from pd.engine.submit import COMMANDS

CLUSTER = ROOT / "cluster"
PINNED = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((CLUSTER / "kubernetes" / name).read_text()))


def cluster_of(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = documents(name)[0]["spec"]
    return spec.get("rayClusterSpec", spec)


KUBERNETES = ["raycluster.yaml", "rayjob.yaml"]
JOBS = sorted(path for path in (ROOT / "ray_jobs").glob("*.py"))


UPLOADED = ("src", "configs", "ray_jobs")


def tracked(*names: str) -> list[str]:
    """Files of the repository, below these names."""
    listed = subprocess.run(["git", "ls-files", *names], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split()


def test_the_aws_file_fits_rays_own_schema() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    settings = yaml.safe_load((CLUSTER / "aws.yaml").read_text())
    jsonschema.validate(settings, schema)
    assert settings["head_node_type"] in settings["available_node_types"]


def test_both_kubernetes_files_are_of_the_same_cluster_but_for_the_door() -> None:
    stays, goes = cluster_of("raycluster.yaml"), cluster_of("rayjob.yaml")
    containers = goes["headGroupSpec"]["template"]["spec"]["containers"]
    assert containers.pop()["name"] == "door"
    assert goes["headGroupSpec"]["rayStartParams"].pop("dashboard-port") == "8266"
    assert goes == stays


@pytest.mark.parametrize("name", KUBERNETES)
def test_token_tls_and_shared_memory_of_pods(name: str) -> None:
    cluster = cluster_of(name)
    assert cluster["authOptions"]["mode"] == "token"
    head = cluster["headGroupSpec"]
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert cluster["enableInTreeAutoscaling"]
    pods = [head["template"]["spec"], *(group["template"]["spec"] for group in cluster["workerGroupSpecs"])]
    for pod in pods:
        ray_container = pod["containers"][0]
        env = {item["name"]: item.get("value") for item in ray_container["env"]}
        assert env["RAY_USE_TLS"] == "1"
        mounts = {mount["name"]: mount["mountPath"] for mount in ray_container["volumeMounts"]}
        assert "ca" not in mounts  # its key is for the certificate's maker alone
        assert {Path(env[f"RAY_TLS_{part}"]).parent for part in ("SERVER_CERT", "SERVER_KEY", "CA_CERT")} == {
            Path(mounts["tls"])
        }
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert set(mounts) <= set(volumes)
        assert mounts["shm"] == "/dev/shm"
        assert volumes["shm"]["emptyDir"]["medium"] == "Memory"
        assert env["PD_HOME"] == mounts["shared"]
    gpus = cluster["workerGroupSpecs"][0]["template"]["spec"]["containers"][0]["resources"]
    assert gpus["requests"]["nvidia.com/gpu"] == gpus["limits"]["nvidia.com/gpu"] == 1


@pytest.mark.parametrize("name", KUBERNETES)
def test_the_network_policy_admits_the_cluster_prometheus_and_a_jobs_submitter(name: str) -> None:
    resource, policy = documents(name)
    ports = {
        port["name"]: port["containerPort"]
        for port in cluster_of(name)["headGroupSpec"]["template"]["spec"]["containers"][0]["ports"]
    }
    rules = policy["spec"]["ingress"]
    assert "ports" not in rules[0]  # among itself
    doors = [(rule["from"][0], rule["ports"][0]["port"]) for rule in rules[1:]]
    namespaces = {port: peer["namespaceSelector"]["matchLabels"] for peer, port in doors if "namespaceSelector" in peer}
    assert namespaces[ports["metrics"]] == {"kubernetes.io/metadata.name": "monitoring"}
    pods = [(peer["podSelector"]["matchLabels"], port) for peer, port in doors if "podSelector" in peer]
    if name == "rayjob.yaml":  # the labels that KubeRay gives to a submitter are its Job's, and not its pod's
        assert pods == [(resource["spec"]["submitterPodTemplate"]["metadata"]["labels"], ports["dashboard"])]
    else:
        assert pods == []


def test_a_run_asks_for_the_machines_that_are_not_there_yet_and_is_repeated_for_a_lost_head_alone() -> None:
    job = documents("rayjob.yaml")[0]["spec"]
    assert not any(group["replicas"] for group in job["rayClusterSpec"]["workerGroupSpecs"])
    words = job["entrypoint"].split()
    assert words[:2] == ["pd", "run"]
    overrides = [override for option, override in pairwise(words) if option == "--set"]
    settings = load_settings(ROOT / "configs" / "smoke.yaml", overrides)
    assert settings.cluster.wait_minutes >= 10  # of a machine with a GPU that is not even started
    assert job["backoffLimit"] == 1


def test_dashboard_and_job_server_listen_on_loopback_alone() -> None:
    for name in KUBERNETES:
        assert cluster_of(name)["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    starts = [
        line
        for path in CLUSTER.rglob("*")
        if path.is_file()
        for line in path.read_text().splitlines()
        if "--head" in line and not line.lstrip().startswith("#") and path.suffix in (".sh", ".yaml", ".md")
    ]
    assert len(starts) >= 2
    for line in starts:
        assert "--dashboard-host=127.0.0.1" in line, line
    assert "0.0.0.0" not in "".join(path.read_text() for path in CLUSTER.rglob("*") if path.is_file())


def test_the_job_server_that_stays_open_is_told_of() -> None:
    dashboard = Path(ray.__file__).parent / "dashboard"
    route = "/api/job_agent/jobs/"
    assert f'@routes.post("{route}")' in (dashboard / "modules" / "job" / "job_agent.py").read_text()
    server = (dashboard / "http_server_agent.py").read_text()
    assert "ssl_context" not in server  # once it has TLS, say so
    assert server.count("aiohttp.web.TCPSite(") == 2  # the node's address and loopback; no option leaves the first out
    for page in (CLUSTER / "README.md", ROOT / "docs" / "threat-model.md"):
        text = page.read_text()
        assert f"`{route}`" in text
        assert f"port\n{DEFAULT_DASHBOARD_AGENT_LISTEN_PORT}" in text or f"port {DEFAULT_DASHBOARD_AGENT_LISTEN_PORT}" in text


def test_no_secret_is_in_a_file() -> None:
    for path in CLUSTER.rglob("*"):
        if path.is_file():
            assert not re.search(r"BEGIN [A-Z ]*PRIVATE KEY|AKIA[0-9A-Z]{16}|[0-9a-f]{64}", path.read_text()), path


def test_versions_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["version"] == __version__
    for name in KUBERNETES:
        assert cluster_of(name)["rayVersion"] == PINNED["ray"]
    text = "".join(path.read_text() for path in CLUSTER.rglob("*") if path.is_file())
    images = set(re.findall(r"\bpd:(\d[\w.]*)", text))
    assert images == {__version__}
    python = re.findall(r"^FROM python:(\d+\.\d+)", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    assert len(set(python)) == 1
    assert project["requires-python"] == f">={python[0]}"
    assert any("default" in line for line in project["dependencies"] if line.startswith("ray["))  # the job server's part


def test_the_image_is_pinned_and_not_roots() -> None:
    lines = (CLUSTER / "Dockerfile").read_text().splitlines()
    stages = [line for line in lines if line.startswith("FROM ")]
    assert len(stages) == 2
    assert any("--constraint constraints.txt" in line for line in lines)
    assert lines.index("USER 1000") > lines.index(stages[1])
    copied = [word for line in lines if line.startswith("COPY") and "--from" not in line for word in line.split()[1:-1]]
    for name in copied:
        assert name.startswith("--") or (ROOT / name).exists(), name
    allowed = {line[1:] for line in (CLUSTER / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {name for name in copied if not name.startswith("--")} == allowed


def installed() -> set[str]:
    """Debian's packages in the image that runs."""
    text = (CLUSTER / "Dockerfile").read_text().rpartition("\nFROM ")[2].replace("\\\n", " ")
    found = re.search(r"apt-get install ([^&]+)", text)
    assert found
    return {word for word in found[1].split() if not word.startswith("-")}


def test_the_head_can_start_machines_of_the_provider() -> None:
    settings = yaml.safe_load((CLUSTER / "aws.yaml").read_text())
    assert settings["provider"]["type"] == "aws"
    head = Path(ray.__file__).parent / "autoscaler" / "_private"  # what runs there, in the image
    assert "import boto3" in (head / "aws" / "config.py").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert any(line.startswith("boto3") for line in extras["aws"])
    assert "boto3" in PINNED
    assert re.search(r"^RUN pip install .*'\.\[aws\]'$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)
    assert {"openssh-client", "rsync"} <= installed()
    assert "[aws]" in (CLUSTER / "README.md").read_text()  # for `ray up` on one's own machine


def test_the_storage_of_aws_belongs_to_whom_the_container_runs_as() -> None:
    uid = re.findall(r"^USER (\d+)$", (CLUSTER / "Dockerfile").read_text(), re.MULTILINE)[0]
    commands = yaml.safe_load((CLUSTER / "aws.yaml").read_text())["initialization_commands"]
    mounted = next(number for number, command in enumerate(commands) if "mount -t nfs4" in command)
    assert f"sudo chown {uid}:{uid} /shared" in commands[mounted + 1 :]


def test_the_image_has_a_compiler_for_torch_compile() -> None:
    assert ModelSettings().compile == "auto"  # on, where there is a GPU
    assert {"gcc", "g++", "libc6-dev"} <= installed()


@pytest.mark.parametrize("script", sorted(CLUSTER.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_are_valid(script: Path) -> None:
    subprocess.run(["bash", "-n", str(script)], check=True)
    assert script.stat().st_mode & 0o100


def test_node_cert_makes_a_certificate_that_its_ca_signed_for_all_names(tmp_path: Path) -> None:
    tool = str(CLUSTER / "node-cert.sh")
    subprocess.run([tool, "ca", str(tmp_path / "ca")], check=True)
    subprocess.run([tool, "node", str(tmp_path / "ca"), str(tmp_path / "node"), "10.1.2.3", "fd00::7", "head.svc"], check=True)
    assert sorted(path.name for path in (tmp_path / "node").iterdir()) == ["ca.crt", "tls.crt", "tls.key"]
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "node").iterdir())
    for check in (["-verify_ip", "10.1.2.3"], ["-verify_ip", "fd00::7"], ["-verify_hostname", "head.svc"]):
        words = ["openssl", "verify", "-CAfile", tmp_path / "node" / "ca.crt", *check, tmp_path / "node" / "tls.crt"]
        subprocess.run(list(map(str, words)), check=True, capture_output=True)
    assert subprocess.run([tool], check=False, capture_output=True).returncode == 2


OWN_ARGUMENTS = ("sweep", "classifier", "labels", "condense", "recognise", "screen")


@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.stem)
def test_a_job_script_is_short_and_runs_a_command_that_there_is(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 60
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run"]
    if path.stem in ("job", *OWN_ARGUMENTS):  # what the others share, and those that take arguments of their own
        return
    assert len(calls) == 1
    command = ast.literal_eval(calls[0].args[0])
    assert command == {"pipeline": "run"}.get(path.stem, path.stem)
    assert f"python ray_jobs/{path.name} --config" in text


def test_there_is_a_job_for_each_command_that_a_cluster_is_for() -> None:
    there = {path.stem for path in JOBS}
    assert {"pipeline", "ingest", "reid", "teacher", "generate", "filter", "student", "audit"} <= there
    assert there - {"job", "pipeline", *OWN_ARGUMENTS} <= set(COMMANDS)


def test_the_upload_takes_code_and_settings_and_nothing_else(tmp_path: Path) -> None:
    checkout, upload = tmp_path / "checkout", tmp_path / "upload.zip"
    for name in tracked(".rayignore", ".gitignore", "README.md", "tests/conftest.py", *UPLOADED):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    for name in [
        "mine.yaml",
        *("people/a/1.png", "x/1.png", "mine.csv", "images.parquet", "release.tar", "runs/a/b.png", "data/1.png"),
        *(".env", ".ssh/id", "src/pd/.env", "src/1.png", "configs/people/1.png", "configs/mine.csv", "ray_jobs/1.png"),
        *("people.yaml/1.png", "src/pd/__pycache__/x.pyc", "src/privacy_distillation/1.png"),
    ]:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("planted")
    _zip_files(str(checkout), get_runtime_env_default_excludes(), str(upload), include_gitignore=True)
    with zipfile.ZipFile(upload) as packed:
        assert set(packed.namelist()) == {"mine.yaml", *tracked(*UPLOADED)}
        assert sum(member.file_size for member in packed.infolist()) < 20e6


def test_the_grafana_dashboard_asks_for_metrics_that_there_are() -> None:
    board = json.loads((CLUSTER / "grafana.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    asked = {name for panel in panels for target in panel["targets"] for name in re.findall(r"\bray_\w+", target["expr"])}
    ours = "".join((ROOT / "src/pd/engine" / name).read_text() for name in ("stream/metrics.py", "training/metrics.py"))
    package = Path(ray.__file__).parent / "dashboard" / "modules"
    theirs = "".join(
        (package / name).read_text()
        for name in ("reporter/reporter_agent.py", "metrics/dashboards/default_dashboard_panels.py")
    )
    for name in asked:
        plain = name.removeprefix("ray_")
        assert f'"{plain}"' in ours if plain.startswith("pd_") else plain in theirs, name
    assert set(re.findall(r'"(pd_\w+)"', ours)) <= {name.removeprefix("ray_") for name in asked}
    boxes = [panel["gridPos"] for panel in panels]
    assert len({(box["x"], box["y"]) for box in boxes}) == len(boxes)
    assert all(box["x"] + box["w"] <= 24 for box in boxes)


def test_the_readme_names_every_file_that_is_shipped() -> None:
    readme = (CLUSTER / "README.md").read_text()
    for path in CLUSTER.rglob("*"):
        if path.is_file() and path.name not in ("README.md", "Dockerfile.dockerignore"):
            assert path.name in readme, path.name
