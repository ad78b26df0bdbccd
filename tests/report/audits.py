"""An audit with every attack in it; made-up figures that only test how they are shown."""

from pd.audit.results import AuditResult


def between(value, low, high, n=1024):
    # Rounded: the ids of `releases.private_dataset` look like the tails of floats.
    return {"value": round(value, 6), "low": round(low, 6), "high": round(high, 6), "n": n}


def around(value, width, n=1024):
    return between(value, value - width, min(value + width, 1.0), n)


CLOSEST = {
    "attacker": "whitened",
    "samples": 250,
    "by_attacker": [[f"c{i:06d}", f"real{i:03d}", 0.9 - i / 100] for i in range(8)],
    "by_pixels": [[f"c{i:06d}", f"real{i:03d}", 0.6 - i / 100] for i in range(10, 18)],
    "people": [[f"s{i}", 9 - i, 0.9 - i / 100, f"real{i:03d}"] for i in range(1, 6)],
}


def every_attack(audit):
    """The same audit with the attacks that need models, the filter's curves, its cost by people and fingerprints."""
    audit = audit.as_json()
    arms = {arm: {**entry, **_attacks(arm, entry)} for arm, entry in audit["arms"].items()}
    tree = {
        **audit,
        "arms": arms,
        "filter": {**audit["filter"], **_filter(audit["filter"]["threshold"])},
        "fingerprints": {
            "control": {who: [around(0.002, 0.002, 256)] * 7 for who in ("teacher", "student")},
            "repetitions": [1, 2, 4, 8, 16, 32, 64],
            "teacher": [around(share, 0.01 + share / 9, 256) for share in (0.0, 0.0, 0.01, 0.04, 0.15, 0.35, 0.61)],
            "student": [around(share, 0.01 + share / 9, 256) for share in (0.0, 0.0, 0.0, 0.0, 0.01, 0.02, 0.05)],
        },
    }
    return AuditResult.model_validate(tree)


def _attacks(arm, entry):
    leak = entry["reid"]["excess"]["value"]
    power = {"detectable": 0.021, "blind": False, "words": "With 20 people it finds an excess of 2.1 in 100 four times of five"}
    return {
        "reid": {**entry["reid"], "people_hit": round(20 * leak), "power": power},
        "extraction": {
            "extracted": around(0.3 * leak, 0.02, 160),
            "control": around(0.002, 0.002, 160),
            "excess": around(0.3 * leak - 0.002, 0.02, 160),
            "copies": {"excess": around(0.4 * leak - 0.002, 0.03, 160)},
            "images_extracted": round(60 * leak),
            "prompts": 160,
            "samples_per_prompt": 32,
        },
        "attributes": {
            "worst": "glasses",
            "by_label": {
                "glasses": _advantage(0.1 * leak),
                "beard": _advantage(0.02),
            },
        },
        "utility": {
            **entry["utility"],
            "subgroups": {"glasses": {"0": around(0.86 - leak / 9, 0.05, 140), "1": around(0.7, 0.1, 60)}},
        },
        "coverage": {
            "identities": around(1 - leak / 2, 0.05, 20),
            "precision": around(0.62, 0.03),
            "images": around(0.41, 0.04),
            "k": 3,
            "features": "EfficientNet-Lite0 features",
        },
        "membership": {"why": "no model to ask: these are images"}
        if arm == "kept"
        else {
            "loss": _guessing(0.5 + leak / 4),
            "likelihood_ratio": {"why": "no shadow models were asked for"}
            if arm == "random_drop"
            else {**_guessing(0.5 + leak / 3), "shadows": 8},
        },
        "adherence": {"score": around(0.243, 0.004), "model": "ViT-B-32"},
        **({"closest": CLOSEST} if arm == "kept" else {}),
    }


def _advantage(value):
    return {"members": around(0.6 + value, 0.04, 200), "holdout": around(0.6, 0.04, 200), "advantage": around(value, 0.05, 200)}


def _guessing(auc):
    return {
        "auc": around(auc, 0.03, 400),
        "tpr_at_1": around(0.01 + (auc - 0.5) / 4, 0.01, 400),
        "members": 200,
        "holdout": 200,
    }


def _filter(threshold):
    steps = [round(threshold - 0.3 + 0.01 * i, 6) for i in range(50)]
    share = [i / 50 for i in range(50)]
    caught = {
        kind: [round(1 - max(0.0, x - easy) ** 2 / (1 - easy) ** 2, 6) for x in share]
        for kind, easy in (("member", 0.9), ("jittered", 0.6), ("round_trip", 0.5), ("other_photo", 0.2))
    }
    return {
        "chosen": threshold,
        "curves": {
            "thresholds": steps,
            "sensitivity": caught,
            "specificity": [round(x**0.3, 6) for x in share],
            "kept": [round(x**1.4, 6) for x in share],
        },
        "at_chosen": {
            "sensitivity": {
                "member": between(1.0, 0.98, 1.0),
                "jittered": between(0.99, 0.97, 1.0),
                "round_trip": around(0.97, 0.02),
            },
            "specificity": around(0.95, 0.02, 100),
        },
        "near_copy": {
            "curves": {"thresholds": [0.8, 0.9, 1.0], "sensitivity": {"member": [1, 1, 1]}, "specificity": [0, 0.9, 1]}
        },
        "consistency": {"kappa": around(0.83, 0.03), "jaccard": around(0.81, 0.03), "kappa_of_pairs": [0.79, 0.86], "seeds": 5},
        "cost": {
            "by_label": {
                "glasses": {"0": around(0.55, 0.02, 400), "1": around(0.74, 0.03, 200)},
                "beard": {"0": around(0.58, 0.02, 500), "1": around(0.83, 0.06, 100)},
            },
            "strangers_by_label": {"glasses": {"0": around(0.04, 0.02, 70), "1": around(0.07, 0.04, 30)}},
            "by_identity": {"worst": [["s7", around(0.97, 0.02, 40)], ["s12", around(0.95, 0.03, 40)]], "gini": 0.21},
        },
    }


def changed(audit, *keys, to):
    """The same audit with another value at a place."""
    tree = audit.as_json()
    place = tree
    for key in keys[:-1]:
        place = place.setdefault(key, {})
    place[keys[-1]] = to
    return AuditResult.model_validate(tree)


def without(audit, *keys):
    """The same audit without what is at a place."""
    tree = audit.as_json()
    place = tree
    for key in keys[:-1]:
        place = place[key]
    del place[keys[-1]]
    return AuditResult.model_validate(tree)
