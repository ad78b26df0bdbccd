"""What of an audit may be released: what is known to be of nobody, and nothing else."""

import json
from dataclasses import asdict

from audits import between, every_attack

from pd.audit.figures import NotMeasured
from pd.audit.results import AuditResult
from pd.config import Settings
from pd.report.public import public_audit, public_settings
from pd.report.verdict import verdict


def test_all_figures_pass_but_those_of_single_people(report_data):
    whole = every_attack(report_data.audit)
    public, audit = public_audit(whole).as_json(), whole.as_json()
    assert public["filter"]["cost"].pop("by_identity") == {"gini": 0.21}
    for key in ("by_identity", "strangers_by_label"):
        audit["filter"]["cost"].pop(key)
    assert audit["arms"]["kept"].pop("closest")
    for arm in audit["arms"].values():
        assert arm["utility"].pop("subgroups")
    assert public.pop("verdict") == json.loads(json.dumps(asdict(verdict(whole))))
    assert public == audit


def test_what_nobody_has_thought_of_stays():
    people = {"s7": between(0.9, 0.8, 1.0)}
    audit = {
        "arms": {
            "filtered": {"reid": {"excess": {**between(0.1, 0, 0.2), "who": "s7"}, "by_person": people}, "people": ["s7"]}
        },
        "filter": {"cost": {"by_label": {"glasses": {"1": between(0.1, 0, 0.2), "s7": between(0.1, 0, 0.2)}}}},
        "real": {"n": {"members": 200, "s7": 10}, "planted": {"s7" * 41: between(0.1, 0, 0.2)}},
        "names": ["s7"],
        "shared": {"k": 3, "labels": ["glasses"]},
    }
    public = public_audit(AuditResult.model_validate(audit)).as_json()
    assert "s7" not in json.dumps(public)
    assert public["arms"]["filtered"]["reid"]["excess"]["value"] == 0.1
    assert public["filter"]["cost"]["by_label"]["glasses"] == {"1": between(0.1, 0, 0.2)}


def test_a_path_of_this_machine_is_told_by_its_last_part():
    excess = {"excess": between(0.1, 0, 0.2)}
    path = "/home/anna/nets/strong.safetensors"
    public = public_audit(
        AuditResult.model_validate(
            {"arms": {"filtered": {"reid": {"attacker": path, **excess, "by_attacker": {path: excess}}}}}
        )
    ).as_json()
    assert "anna" not in json.dumps(public)
    assert list(public["arms"]["filtered"]["reid"]["by_attacker"]) == ["strong.safetensors"]


def test_why_there_is_no_figure_passes_on_one_line():
    public = public_audit(AuditResult(fingerprints=NotMeasured(why="not\nasked for " + "x" * 500))).as_json()
    assert list(public["fingerprints"]) == ["why"]
    assert "\n" not in public["fingerprints"]["why"]
    assert len(public["fingerprints"]["why"]) <= 400


def test_settings_name_nothing_of_the_machine():
    settings = Settings(data={"reader": "folder", "path": "/home/anna/people"}, address="ray://secret:1")
    shown = public_settings(settings)
    assert shown["generate"]["sampler_steps"] == 15
    assert "anna" not in str(shown)
    assert "secret" not in str(shown)


def test_arms_whose_figures_stay_at_home(report_data):
    whole = every_attack(report_data.audit)
    whole = whole.model_copy(update={"arms": {**whole.arms, "formal": whole.arms["filtered"]}})
    public = public_audit(whole, ("formal",))
    assert "formal" in public_audit(whole).arms
    assert set(public.arms) == set(whole.arms) - {"formal"}
    assert public.verdict == public_audit(whole).verdict
    assert Settings.model_validate({"formal": {"release": "weights"}}).unpublished_arms == ("formal",)
    assert Settings.model_validate({"formal": {}}).unpublished_arms == ()
