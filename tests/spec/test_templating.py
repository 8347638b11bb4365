"""Templates in specification files, as Timeloop's front end offers them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flat_mapper.base.errors import SpecError
from flat_mapper.spec.document import Tagged
from flat_mapper.spec.templating import load_document, searched

TOP = """\
{{add_to_path(cwd() ~ '/parts')}}
{% set name = name | default('small') %}
{% if path_exists('gone.yaml') %}
gone: true
{% endif %}
architecture: {{include(name ~ '.yaml', 'architecture')}}
classes: {{include_all('parts/c*.yaml', 'classes')}}
found: "{{find_path('small.yaml')}}"
{{include_text('text.yaml')}}
depth: {{depth | default(4) * 2}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    parts = tmp_path / "parts"
    parts.mkdir()
    (tmp_path / "top.yaml.jinja2").write_text(TOP)
    (parts / "small.yaml").write_text("architecture:\n  nodes:\n  - !Component {name: A}\n")
    (parts / "big.yaml").write_text("architecture: {nodes: [{{width}}]}\n")
    (parts / "c1.yaml").write_text("classes: [{name: x}]\n")
    (parts / "c2.yaml").write_text("classes: [{name: y}]\n")
    (parts / "text.yaml").write_text("variables: {W: {{W | default(16)}}}\n")
    return tmp_path


def test_includes_conditions_and_data(folder: Path) -> None:
    document = load_document(folder / "top.yaml.jinja2")
    assert document == {
        "architecture": {"nodes": [Tagged("!Component", {"name": "A"})]},
        "classes": [[{"name": "x"}], [{"name": "y"}]],
        "found": str(folder / "parts" / "small.yaml"),
        "variables": {"W": 16},
        "depth": 8,
    }
    document = load_document(folder / "top.yaml.jinja2", {"name": "big", "width": 7, "W": 8})
    assert document["architecture"] == {"nodes": [7]}  # type: ignore[index]
    assert document["variables"] == {"W": 8}  # type: ignore[index]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: {{b}}", r"x\.yaml: expected a value for every name .*'b' is undefined; give it as te"),
        ("a: 1\n{% if %}", r"x\.yaml:2: expected a Jinja2 template, got an error"),
        ("{{include('no.yaml')}}", r"x\.yaml: expected a file 'no\.yaml' to include, got none at"),
        ("{{include('x.yaml')}}", r"x\.yaml: expected at most 200 includes, nested 16 deep"),
        ("{{include_text('x.yaml')}}", r"x\.yaml: expected at most 200 includes, nested 16 deep"),
        ("a: {{include('y*.yaml')}}", r"include: expected one file for 'y\*\.yaml', got 2; use"),
        (
            "a: {{include('y1.yaml', 'k.zz')}}",
            r"y1\.yaml: expected the key 'zz' of 'k\.zz', got z;",
        ),
        ("a: {{''.__class__.__mro__}}", r"x\.yaml: expected .*, got.*'__class__'"),
        ("a: {{cycler.__init__.__globals__}}", r"x\.yaml: expected .*, got.*'__init__'"),
        ("a: {{'x' * 100000000}}", r"x\.yaml: expected a Jinja2 template, got an error: a product"),
        ("a: {{9 ** 999999999}}", r"x\.yaml: expected a Jinja2 template, got an error: a product"),
        ("{% for i in range(10**9) %}x{% endfor %}", r"x\.yaml: expected a Jinja2 template, got"),
        ("a: {{1 / 0}}", r"x\.yaml: expected a Jinja2 template, got an error: division by zero"),
        ("a: {{'!!python/name:os.system x'}}", r"x\.yaml:1: expected a plain value, got '!!python"),
    ],
)
def test_bad_templates_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    (tmp_path / "y1.yaml").write_text("k: {z: 1}")
    (tmp_path / "y2.yaml").write_text("k: 2")
    with pytest.raises(SpecError, match=message) as caught:
        load_document(tmp_path / "x.yaml")
    assert "\n" not in str(caught.value)


def test_rendered_text_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(
        "{% for i in range(9999) %}{% for j in range(9999) %}"
        + "x" * 9999
        + "{% endfor %}{% endfor %}"
    )
    with pytest.raises(SpecError, match="expected a template of at most 16777216 characters"):
        load_document(tmp_path / "x.yaml")


def test_plain_files_do_not_import_jinja2(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("a: 1")
    code = (
        "import sys; from flat_mapper.spec.templating import load_document, searched; "
        f"assert load_document({str(tmp_path / 'x.yaml')!r}) == {{'a': 1}}; "
        "assert 'jinja2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


HOSTILE = [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "a: {{lipsum(n=10000000)}}",
    "a: {{'a'|center(2000000000)}}",
    "a: {{'%2000000000d' % 1}}",
    "{% set n = namespace(x='xxxxxxxxxx') %}{% for i in range(60) %}"
    "{% set n.x = n.x ~ n.x %}{% endfor %}a: {{n.x}}",
    "a: {{range(99999)|list|string|wordwrap(1)|length}}{% for i in range(99999) %}"
    "{% set x = range(99999)|list|sort %}{% endfor %}",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_c3_templates_are_limited_in_time_and_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"x\.yaml: expected a template that is rendered in 1 s"):
        load_document(tmp_path / "x.yaml")


def test_the_clock_is_told_apart_from_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.yaml").write_text("a: {{1}}")
    monkeypatch.setattr("flat_mapper.spec.templating.WAIT_S", 1e-6)
    with pytest.raises(SpecError, match=r"expected a template that is rendered in 1e-06 s by the "):
        load_document(tmp_path / "x.yaml")


@pytest.mark.parametrize(
    "text",
    [
        "{{include('/etc/passwd')}}",
        "{{include_text('/etc/passwd')}}",
        "{{include_all('/etc/pass*')}}",
        "{{include('../secret')}}",
        "{{include('link.yaml')}}",
        "{{include('*/../../secret.yaml')}}",
        "{{include('../../up.yaml')}}",
        "{{include('../above.yaml')}}",
        "{{include_text('../above.yaml')}}",
        "{{include('../beside/x.yaml')}}",
        "{{add_to_path('/etc')}}{{include('passwd')}}",
        "{{add_to_path('..')}}{{include('secret')}}",
        "{% include '/etc/passwd' %}",
        "{% include '../secret' %}",
        "{% extends 'link.yaml' %}",
        "found: {{find_path('../secret')}}",
    ],
)
def test_c3_nothing_outside_the_folder_is_included(tmp_path: Path, text: str) -> None:
    inside = tmp_path / "above" / "in"
    beside = tmp_path / "above" / "beside"
    for folder in (inside, beside):
        folder.mkdir(parents=True)
    hidden = (
        *(tmp_path / "up.yaml", inside.parent / "secret", beside / "x.yaml"),
        inside.parent / "above.yaml",
    )
    for file in hidden:
        file.write_text("hidden words")
    (inside / "x.yaml").write_text(text)
    (inside / "link.yaml").symlink_to(inside.parent / "secret")
    with pytest.raises(SpecError, match=r"expected a file .* to include, got") as caught:
        load_document(inside / "x.yaml")
    assert "hidden" not in str(caught.value)
    assert "root:" not in str(caught.value)


def test_a_file_that_the_data_name_may_be_included(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("a: 1")
    inside = tmp_path / "above" / "in"
    inside.mkdir(parents=True)
    (inside / "x.yaml").write_text("b: {{include(file)}}")
    document = load_document(inside / "x.yaml", {"file": str(tmp_path / "other.yaml")})
    assert document == {"b": {"a": 1}}


def test_c3_includes_of_includes_stay_bounded(tmp_path: Path) -> None:
    (tmp_path / "a0.yaml").write_text("[1, 1, 1, 1, 1, 1, 1, 1]")
    for i in range(1, 15):
        again = "{{x}}, {{x}}, {{x}}, {{x}}"
        text = f"{{% set x = include('a{i - 1}.yaml') %}}[{again}]"
        (tmp_path / f"a{i}.yaml").write_text(text)
    with pytest.raises(SpecError, match=r"expected at most 500000 values, includes expanded"):
        load_document(tmp_path / "a14.yaml")


def test_c3_the_search_path_is_named_by_who_runs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, common = tmp_path / "net", tmp_path / "common"
    inside.mkdir()
    common.mkdir()
    (common / "base.yaml").write_text("a: 1\n")
    layer = inside / "layer.yaml"
    layer.write_text("{{include('../common/base.yaml')}}")
    with pytest.raises(SpecError, match=r"outside .*net; name its folder in FLAT_MAPPER_INCLUDE"):
        load_document(layer)
    monkeypatch.setenv("FLAT_MAPPER_INCLUDE", str(common))
    assert load_document(layer) == {"a": 1}
    monkeypatch.delenv("FLAT_MAPPER_INCLUDE")
    with searched(common):
        assert load_document(layer) == {"a": 1}
    with pytest.raises(SpecError, match="outside"):
        load_document(layer)


def test_the_base_of_a_folder_of_layers_is_included_from_the_folder_above(tmp_path: Path) -> None:
    layer = tmp_path / "net" / "layer.yaml"
    layer.parent.mkdir()
    layer.write_text("{{include_text('../problem_base.yaml')}}")
    base = tmp_path / "problem_base.yaml"
    base.write_text("a: 1\n")
    assert load_document(layer) == {"a": 1}
    base.rename(tmp_path / "secret")
    base.symlink_to(tmp_path / "secret")
    with pytest.raises(SpecError, match="outside"):
        load_document(layer)
