"""A command for each stage that is no more than that."""

from pd.cli.app import ConfigFile, Overrides, app, run_stage


@app.command()
def ingest(config: ConfigFile, set_: Overrides = None) -> None:
    """Read the private images into `private/dataset/`, split into members and hold-out.

    Example: `pd ingest configs/faces.yaml`
    """
    run_stage("ingest", config, set_)


@app.command()
def reid(config: ConfigFile, set_: Overrides = None) -> None:
    """Train the re-identification network on the members and build their gallery.

    Example: `pd reid configs/faces.yaml --set reid.steps=500`
    """
    run_stage("reid", config, set_)


@app.command()
def teacher(config: ConfigFile, set_: Overrides = None) -> None:
    """Train the teacher on the members' images.

    Example: `pd teacher configs/faces.yaml --set teacher.workers=2`
    """
    run_stage("teacher", config, set_)


@app.command()
def early(config: ConfigFile, set_: Overrides = None) -> None:
    """Train the teacher again, stopped before it remembers people, as an arm of the audit (`early` in `audit.arms`).

    Example: `pd early configs/faces.yaml --set 'audit.arms=[teacher, early, kept, filtered]'`
    """
    run_stage("early", config, set_)


@app.command()
def leaks(config: ConfigFile, set_: Overrides = None) -> None:
    """Train teachers that memorise calibration people, to see how strict the filter must be (`filter.calibration: leaks`).

    Example: `pd leaks configs/faces.yaml --set filter.calibration=leaks`
    """
    run_stage("leaks", config, set_)


@app.command()
def generate(config: ConfigFile, set_: Overrides = None) -> None:
    """Sample the teacher and score every candidate against the members.

    Example: `pd generate configs/faces.yaml --set generate.candidates=10000`
    """
    run_stage("generate", config, set_)


@app.command(name="top_up")
def top_up(config: ConfigFile, set_: Overrides = None) -> None:
    """Make more candidates of prompts of which too few are kept.

    Example: `pd top_up configs/faces.yaml --set generate.per_prompt=20`
    """
    run_stage("top_up", config, set_)


@app.command()
def student(config: ConfigFile, set_: Overrides = None) -> None:
    """Train the student on the kept candidates and nothing else.

    Example: `pd student configs/faces.yaml`
    """
    run_stage("student", config, set_)


@app.command()
def arms(config: ConfigFile, set_: Overrides = None) -> None:
    """Train the students that the audit compares with (`audit.arms`); they are not released.

    Example: `pd arms configs/faces.yaml --set 'audit.arms=[random_drop]'`
    """
    run_stage("arms", config, set_)


@app.command()
def release(config: ConfigFile, set_: Overrides = None) -> None:
    """Bring what the audit does not call a leak into `release/`; what leaks stays in `private/`.

    Example: `pd release configs/faces.yaml --set release.data=none`
    """
    run_stage("release", config, set_)


@app.command()
def formats(config: ConfigFile, set_: Overrides = None) -> None:
    """Write the released images in the formats that `release.formats` asks for beside Parquet.

    Example: `pd formats configs/faces.yaml --set 'release.formats=[parquet, webdataset]'`
    """
    run_stage("formats", config, set_)


@app.command()
def report(config: ConfigFile, set_: Overrides = None) -> None:
    """Write `private/report.html` (with real faces in it), the release's report without them, and its card.

    Example: `pd report configs/faces.yaml`
    """
    run_stage("report", config, set_)


@app.command()
def formal(config: ConfigFile, set_: Overrides = None) -> None:
    """Train the model with an epsilon that the section `formal` asks for, into `release/formal/`.

    Example: `pd formal configs/fashion_private.yaml --set formal.epsilon=3`
    """
    run_stage("formal", config, set_)
