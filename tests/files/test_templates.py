"""File name templates: what a field may be, what it becomes, and that nothing leads out of the folder."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor_core.files.templates import Template

NUMBERS = {"epoch": 7, "step": 700, "batch": 100}


def template(text):
    return Template(text, numbers=NUMBERS)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model.keras", "model.keras"),
        ("{epoch:03d}.keras", "007.keras"),
        ("a/{epoch:02d}-{step}-{batch:>5}.h5", "a/07-700-  100.h5"),
        ("{epoch:.1f}", "7.0"),
        ("{val_loss:.2f}-{epoch}", "0.12-7"),
        ("{val_loss}", "0.125"),
        ("{val_loss:+.1e}", "+1.2e-01"),
        ("{val_loss:%}", "12.500000%"),
        ("{train/loss:.0f}.npz", "3.npz"),
        ("{{epoch}}-{epoch}", "{epoch}-7"),
        ("{val_acc:.1f}", "0.5"),
    ],
)
def test_fields_become_what_the_format_spec_says(text, expected):
    """Names of numbers and metrics take their values, formatted as Python does, in either spelling of accuracy."""
    metrics = {"val_loss": np.float32(0.125), "train/loss": 3, "val_accuracy": 0.5}
    assert template(text).format(NUMBERS, metrics) == expected


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("{m.__class__}", "m.__class__"),
        ("{epoch.real}", "epoch.real"),
        ("{a[0]}", "a[0]"),
        ("{}", "{}"),
        ("{0}", "{0}"),
        ("{epoch!r}", "{epoch!r}"),
        ("{loss!s:>10}", "{loss!s:>10}"),
    ],
)
def test_fields_that_are_more_than_names_are_refused(text, field):
    """Attributes, items, conversions and positions are errors at construction that name the field."""
    with pytest.raises(ValueError, match=r"filepath must have fields of a name and a format spec.*\(got \{") as raised:
        template(f"model-{text}.keras")
    assert field in str(raised.value)


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("{epoch:{step}}", "integers"),
        ("{epoch:c}", "integers"),
        ("{epoch:s}", "integers"),
        ("{epoch:.2}", "integers"),
        ("{epoch:99999999d}", "integers"),
        ("{epoch:/>9}", "integers"),
        ("{loss:d}", "floats"),
        ("{loss:n}", "floats"),
        ("{loss:\\>20}", "floats"),
        ("{loss:5q}", "floats"),
        ("{loss:%Y-%m}", "floats"),
    ],
)
def test_format_specs_that_fit_no_number_are_refused(field, kind):
    """A spec that is nested, of another kind, too wide, or fills with separators is an error that names the field."""
    with pytest.raises(ValueError, match=f"filepath must have format specs for {kind}") as raised:
        template(f"{field}.keras")
    assert f"(got {field})" in str(raised.value)


@pytest.mark.parametrize("text", ["{epoch", "epoch}", "{epoch:02d", "{epoch!}"])
def test_text_that_is_no_template_is_refused(text):
    """Unmatched braces are an error that shows the template."""
    with pytest.raises(ValueError, match="filepath must be a template"):
        template(text)


@pytest.mark.parametrize("text", ["", "folder/", ".", "a/..", "{epoch}/"])
def test_a_template_must_name_a_file(text):
    """A path that ends in a folder is an error."""
    with pytest.raises(ValueError, match="filepath must name a file"):
        template(text)


def test_nul_is_refused():
    """A null character, which no file system takes, is an error at construction."""
    with pytest.raises(ValueError, match="filepath must not contain NUL"):
        template("a\0b.keras")


@pytest.mark.parametrize("text", [None, 3, b"model.keras"])
def test_a_template_must_be_text(text):
    """Anything but a string or a path object is an error."""
    with pytest.raises(TypeError, match="filepath must be a path, as a string"):
        template(text)


def test_parent_folders_after_a_field_are_refused():
    """Only the part before the first field may go upwards."""
    assert template("../runs/{epoch}.keras").folder == "../runs"
    with pytest.raises(ValueError, match=r"filepath must not have '\.\.' after a field"):
        template("runs/{epoch}/../{step}.keras")


def test_a_missing_name_lists_what_is_there():
    """A missing name is an error that lists the available names and suggests the nearest."""
    with pytest.raises(KeyError, match=r"no metric 'val_los' \(did you mean 'val_loss'\?\)") as raised:
        template("{val_los:.2f}").format(NUMBERS, {"loss": 1.0, "val_loss": 2.0})
    assert "batch, epoch, loss, step, val_loss" in str(raised.value)


@pytest.mark.parametrize("value", ["../../evil", None, [1.0, 2.0]])
def test_a_value_that_is_not_a_number_never_enters_a_name(value):
    """A metric that is a string, None or a list is an error."""
    with pytest.raises(TypeError, match=r"filepath needs a number for \{loss\}"):
        template("{loss}.keras").format(NUMBERS, {"loss": value})


def test_metrics_with_hostile_names_change_nothing():
    """A metric's name is looked up and never part of a path; those of numbers stay numbers."""
    hostile = {"../../evil": 1.0, "/etc/passwd": 2.0, "a\0b": 3.0, "epoch": 99.0, "loss": 0.5}
    assert template("runs/{epoch}-{loss}.keras").format(NUMBERS, hostile) == "runs/7-0.5.keras"
    with pytest.raises(ValueError, match=r"fields of a name and a format spec.*\(got \{\.\./\.\./evil\}\)"):
        template("runs/{../../evil}.keras")
    assert template("runs/{/etc/passwd}.keras").format(NUMBERS, hostile) == "runs/2.0.keras"


@given(
    spec=st.text(
        st.sampled_from("/\\.:<>=^+- z#0123456789,_bcdoxXeEfFgGn%s{~é"), max_size=8
    ),  # "}" would end the field
    value=st.floats(),
    epoch=st.integers(1, 10**7),
)
def test_no_format_spec_leads_out_of_the_folder(spec, value, epoch):
    """Whatever spec is accepted, the field stays one name within the folder, for every value."""
    for name in ("epoch", "loss"):
        try:
            accepted = template(f"folder/{{{name}:{spec}}}x")
        except ValueError:
            continue
        path = Path(accepted.format({**NUMBERS, "epoch": epoch}, {"loss": value}))
        assert (len(path.parts), path.parts[0]) == (2, "folder")
        assert ".." not in path.parts


@pytest.mark.parametrize(
    ("text", "folder", "depth", "file_name"),
    [
        ("model.keras", "", 0, "model.keras"),
        ("runs/a/{epoch:02d}-{val_loss:.2f}.keras", "runs/a", 0, "epoch-val_loss.keras"),
        ("runs/e{epoch}/m-{train/loss}.npz", "runs", 1, "m-train_loss.npz"),
        ("/data/{{x}}/y/{epoch}/{step}/m.pt", "/data/{x}/y", 2, "m.pt"),
        ("{epoch}.keras", "", 0, "epoch.keras"),
    ],
)
def test_the_folder_above_all_fields_is_known(text, folder, depth, file_name):
    """The fixed folder, the folders below it and the template's own name as one file."""
    parsed = template(text)
    assert (parsed.folder, parsed.depth, parsed.file_name) == (folder, depth, file_name)
