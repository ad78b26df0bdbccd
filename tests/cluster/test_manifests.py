"""All manifests of `cluster/kubernetes`: valid by Kubernetes' own schemas and KubeRay's fields, and with no right too many."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.autoscaler._private.kuberay import node_provider
from terminal import ROOT

MANIFESTS = sorted((ROOT / "cluster" / "kubernetes").glob("*.yaml"))
KUBERAY = yaml.safe_load(Path(__file__).with_name("kuberay.yaml").read_text())
OLDEST, NEWEST = "1.30", "1.37"  # of Kubernetes: `kubernetes-validate` has the schemas of each
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
ALL = [
    pytest.param(document, id=f"{path.stem}-{document['kind']}")
    for path in MANIFESTS
    for document in yaml.safe_load_all(path.read_text())
]
OURS = [one for one in ALL if "ray.io" in one.values[0]["apiVersion"]]


def pods(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The pods that KubeRay makes of a resource; to the head it adds the autoscaler, as `autoscalerOptions` has it."""
    spec = document["spec"]
    if "submitterPodTemplate" in spec:
        yield "submitter", spec["submitterPodTemplate"]
    cluster = spec.get("rayClusterSpec", spec)
    options = cluster["autoscalerOptions"]
    head = copy.deepcopy(cluster["headGroupSpec"]["template"])
    ray_container = head["spec"]["containers"][0]
    taken = {key: options[key] for key in ("resources", "securityContext", "env", "volumeMounts")}
    head["spec"]["containers"].append({"name": "autoscaler", "image": ray_container["image"], **copy.deepcopy(taken)})
    yield "head", head
    for group in cluster["workerGroupSpecs"]:
        yield group["groupName"], group["template"]


@pytest.mark.parametrize("document", ALL)
@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_what_is_kubernetes_fits_its_own_schemas(document: dict[str, Any], version: str) -> None:
    if "ray.io" not in document["apiVersion"]:
        kubernetes_validate.validate(document, version, strict=True)
        return
    for name, template in pods(document):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **template.get("metadata", {})}}
        kubernetes_validate.validate(pod | {"spec": template["spec"]}, version, strict=True)


@pytest.mark.parametrize("document", OURS)
def test_what_is_kuberays_has_the_fields_that_it_defines(document: dict[str, Any]) -> None:
    jsonschema.validate(document, KUBERAY)
    wrong = copy.deepcopy(document)
    cluster = wrong["spec"].get("rayClusterSpec", wrong["spec"])
    cluster["headGroupSpec"]["rayStartParam"] = {}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, KUBERAY)


def test_schemas_refuse_a_misspelt_field_of_a_container() -> None:
    jsonschema.Draft202012Validator.check_schema(KUBERAY)
    _, head = next(pods(OURS[0].values[0]))
    head["spec"]["containers"][0]["securtyContext"] = {}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "head"}, "spec": head["spec"]}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, NEWEST, strict=True)


@pytest.mark.parametrize("document", OURS)
def test_no_container_is_root_or_has_a_right_or_a_token_too_many(document: dict[str, Any]) -> None:
    for name, template in pods(document):
        pod = template["spec"]
        who = pod["securityContext"]
        assert who["runAsNonRoot"]
        assert who["runAsUser"] > 0
        assert who["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert not [volume for volume in volumes.values() if "hostPath" in volume]
        for container in [*pod.get("initContainers", []), *pod["containers"]]:
            assert container["securityContext"] == {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]  # no limit of CPUs, which only makes Ray's processes wait
            mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
            assert set(mounts.values()) <= set(volumes)
            if ACCOUNT in mounts:
                assert (name, container["name"]) == ("head", "autoscaler")
            if container["name"] not in ("certificate", "door"):  # they write to the certificate's mount, and nothing
                assert {"/tmp", "/home/pd"} <= set(mounts)


@pytest.mark.parametrize("document", OURS)
def test_the_autoscaler_finds_the_token_where_ray_looks_and_shares_no_folder_but_certificates(document: dict[str, Any]) -> None:
    assert f"{ACCOUNT}/token" == node_provider.IN_CLUSTER_TOKEN_PATH
    assert f"{ACCOUNT}/ca.crt" == node_provider.IN_CLUSTER_CA_CERT_PATH
    head = dict(pods(document))["head"]["spec"]
    *others, autoscaler = head["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in autoscaler["volumeMounts"]}
    sources = next(volume for volume in head["volumes"] if volume["name"] == mounts[ACCOUNT])["projected"]["sources"]
    paths = [sources[0]["serviceAccountToken"]["path"]]
    paths += [item["path"] for source in sources[1:] for part in source.values() for item in part["items"]]
    assert paths == ["token", "ca.crt", "namespace"]
    theirs = {mount["name"] for container in others for mount in container.get("volumeMounts", [])}
    assert theirs & set(mounts.values()) == {"tls"}


def test_the_home_folder_is_that_of_the_image() -> None:
    dockerfile = (ROOT / "cluster" / "Dockerfile").read_text()
    assert "useradd --create-home --uid 1000 pd" in dockerfile
    assert "WORKDIR /home/pd" in dockerfile
