"""Text with `${…}` in it: what is ours, what it becomes, and what a command is given."""

from __future__ import annotations

from typing import Any

import pytest

from checkpointflow.errors import EvaluationError, ExpressionError
from checkpointflow.expressions.syntax import references
from checkpointflow.expressions.templates import (
    Template,
    compile_value,
    fill_value,
    holes,
    list_leaves,
    list_texts,
    parse_template,
    render,
    render_text,
)
from checkpointflow.shells.scripts import (
    MAX_ARGUMENT_BYTES,
    MAX_HOLES,
    Script,
    command_holes,
    parse_command,
    render_command,
)

SCOPE = {
    "inputs": {
        "name": "Ann",
        "count": 3,
        "list": ["a", "b c"],
        "object": {"k": None},
        "brace": "${inputs.name}",
    },
    "item": "one",
    "secrets": {"TOKEN": "s3cret"},
}


def text(template: str) -> Any:
    return render(parse_template(template), SCOPE)


def filled(value: Any) -> Any:
    return fill_value(compile_value(value), SCOPE)


def script(command: str, shell: Any = "sh", **inputs: Any) -> Script:
    return render_command(parse_command(command, shell), {**SCOPE, "inputs": {**SCOPE["inputs"], **inputs}})  # type: ignore[dict-item]


def refused(command: str, shell: Any = "sh") -> ExpressionError:
    with pytest.raises(ExpressionError) as caught:
        parse_command(command, shell)
    return caught.value


# Text


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("", ""),
        ("plain", "plain"),
        ("${inputs.count}", 3),
        ("${ inputs.list }", ["a", "b c"]),
        ("${inputs.count > 2}", True),
        ("n=${inputs.count}", "n=3"),
        ("${inputs.list}!", '["a","b c"]!'),
        ("${inputs.name}${inputs.name}", "AnnAnn"),
        ("${inputs.object}\n", '{"k":null}\n'),
        ('${inputs.object == {"k": null}}', True),
        ("${inputs.name == '}'}", False),
        ('${inputs.name == "\\"}"}', False),
        ("$${inputs.name}", "${inputs.name}"),
        ("$$${inputs.name}", "$${inputs.name}"),
        ("$ $$ $x {} ${inputs.count}$", "$ $$ $x {} 3$"),
        ("${'text'}", "text"),
    ],
)
def test_a_template_becomes(template: str, value: Any) -> None:
    assert text(template) == value


def test_a_hole_alone_keeps_its_type_unless_text_is_asked_for() -> None:
    template = parse_template("${inputs.count}")
    assert (render(template, SCOPE), render_text(template, SCOPE)) == (3, "3")


def test_a_value_that_looks_like_a_hole_is_not_expanded_again() -> None:
    assert text("<${inputs.brace}>") == "<${inputs.name}>"
    assert filled(["${inputs.brace}", "$${inputs.name}"]) == ["${inputs.name}", "${inputs.name}"]


def test_every_text_in_a_value_is_rendered_but_no_key() -> None:
    value = {"${item}": ["${item}", {"n": "${inputs.count}"}, 1, None, True]}
    assert filled(value) == {"${item}": ["one", {"n": 3}, 1, None, True]}


def test_texts_in_a_value_come_with_their_paths() -> None:
    value = {"a": ["x", {"b": "y"}, 3], "c": "z"}
    assert list(list_texts(value)) == [(("a", 0), "x"), (("a", 1, "b"), "y"), (("c",), "z")]
    assert list(list_texts("x")) == [((), "x")]


def test_the_holes_of_a_template_are_its_expressions() -> None:
    template = parse_template("a ${inputs.x} b ${item == 3}")
    assert [references(expression) for expression in holes(template)] == [[("inputs", "x")], [("item",)]]


VALUE = {"${item}": ["${item}", {"n": "n=${inputs.count}"}, "$${item}", "plain", 1, None, True]}


def test_a_compiled_value_is_filled_in_as_often_as_one_likes() -> None:
    compiled = compile_value(VALUE)
    for item in ("one", ["two"]):
        found = fill_value(compiled, {**SCOPE, "item": item})
        assert found == {"${item}": [item, {"n": "n=3"}, "${item}", "plain", 1, None, True]}


def test_text_without_holes_is_text_once_compiled() -> None:
    assert compile_value(["plain", "$${item}", "", 3]) == ["plain", "${item}", "", 3]


def test_only_the_texts_with_holes_and_the_faulty_ones_of_a_compiled_value_are_no_longer_plain() -> None:
    leaves = list_leaves(compile_value({**VALUE, "wrong": ["${"]}))
    found = {path: leaf for path, leaf in leaves if isinstance(leaf, Template | ExpressionError)}
    assert found[("${item}", 0)] == parse_template("${item}")
    assert found[("${item}", 1, "n")] == Template(("n=", *holes(parse_template("${inputs.count}"))))
    assert isinstance(found.pop(("wrong", 0)), ExpressionError)
    assert len(found) == 2


def test_a_faulty_text_is_told_only_when_it_is_filled_in_and_each_time_anew() -> None:
    compiled = compile_value({"a": "${inputs.count}", "b": "x ${HOME}"})
    depths = []
    for _ in range(2):
        with pytest.raises(ExpressionError) as caught:
            fill_value(compiled, SCOPE)
        assert (caught.value.text, caught.value.column) == ("x ${HOME}", 5)
        depths.append(len(caught.traceback))
    assert depths[0] == depths[1]


@pytest.mark.parametrize(
    ("template", "line", "column"),
    [
        ("a ${foo.x}", "a ${foo.x}", 5),
        ("a\nb ${HOME} c\nd", "b ${HOME} c", 5),
        ("one\ntwo ${inputs.x", "two ${inputs.x", 5),
        ("${inputs.x == '}'", "${inputs.x == '}'", 1),
        ("${}", "${}", 3),
        ("x ${raw:inputs.x}", "x ${raw:inputs.x}", 5),
        ("\t${inputs.x %\n 1}", " ${inputs.x %", 13),
        ("${inputs." + "x" * 5000 + "}", "${inputs." + "x" * 5000 + "}", 1),
    ],
)
def test_a_wrong_hole_is_shown_in_its_line(template: str, line: str, column: int) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse_template(template)
    assert (caught.value.text, caught.value.column) == (line, column)


# Commands: whose `${…}` it is


@pytest.mark.parametrize(
    "theirs",
    [
        "${HOME}",
        "${x:-y}",
        "${file%.*}",
        "${#a}",
        "${1}",
        "${arr[@]}",
        "${arr[a.b]}",
        "${run:-x}",
        "${item-x}",
        "${item%x}",
        "${items}",
        "${item_x}",
        "${inputs_dir}",
        "${VERSION-1.0}",
        "${1-item}",
        "${1:-x}",
        "${1}",
        "${item+x}",
        "${item-1}",
        "${length}",
        "${length:-1}",
        "${upper}",
        "${raw:-inputs.x}",
        "${raw:1:2}",
        "${raw:(-1)}",
        "${raw}",
        "${not}",
        "${!x}",
        "${true}",
        "${}",
        "$item",
        "$$",
        "$(x)",
    ],
)
@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh"])
def test_the_shell_keeps_its_own(theirs: str, shell: Any) -> None:
    template = parse_command(f"echo {theirs}", shell)
    assert (command_holes(template), render_command(template, {})) == ([], Script(f"echo {theirs}", {}))


@pytest.mark.parametrize("flags", ["(e)x", "(j:,:)x", "(U)${x}", "(%):-%n"])
def test_zsh_keeps_its_flags(flags: str) -> None:
    assert command_holes(parse_command(f"echo ${{{flags}}}", "zsh")) == []


@pytest.mark.parametrize(
    "ours",
    [
        "${inputs.x}",
        "${ inputs.x }",
        "${inputs['x']}",
        "${item}",
        "${item== 1}",
        "${item != 1}",
        "${item<1}",
        "${item >= 1}",
        "${run.id}",
        "${secrets.TOKEN}",
        "${'a' == item}",
        '${"a"}',
        "${(item == 1)}",
        "${not item}",
        "${length(item)}",
        "${default (inputs.x, 1)}",
        "${item_index+1}",
        "${item + 1}",
        "${1 + item}",
        "${-1.5 * item}",
        "${raw:lower(item)}",
        "${raw:inputs.x}",
        "${ raw: inputs.x }",
        "${raw:(item == 1)}",
    ],
)
@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "zsh"])
def test_a_hole_is_ours(ours: str, shell: Any) -> None:
    (hole,) = command_holes(parse_command(f"echo {ours}", shell))
    assert (hole.start, hole.form) == (5, "raw" if "raw:" in ours else "value")


@pytest.mark.parametrize(
    "wrong", ["${foo.bar}", "${step[0].x}", "${inputs[@]}", "${item %1}", "${raw:foo.bar}", "${item_index-1}"]
)
def test_what_looks_like_ours_and_is_not_is_an_error_that_says_how_the_shell_gets_it(wrong: str) -> None:
    assert "$${…}" in (refused(f"echo {wrong}").hint or "")


def test_an_unclosed_hole_is_refused() -> None:
    assert refused("echo ${inputs.x").column == 6


def test_our_holes_are_found_in_the_shells_expansions() -> None:
    assert script('echo "${x:-${inputs.name}}"').text == 'echo "${x:-${CPF_VALUE_1}}"'


def test_a_doubled_dollar_leaves_the_expansion_to_the_shell() -> None:
    assert script("echo $${item} $${x:-${item}}").text == 'echo ${item} ${x:-"${CPF_VALUE_1}"}'


def test_a_name_that_is_not_there_may_be_the_shells() -> None:
    with pytest.raises(EvaluationError, match=r"\$item or \$\$\{item\}"):
        render_command(parse_command("for item in a; do echo ${item}; done", "sh"), {"inputs": {}})


def test_a_path_that_leads_nowhere_is_an_error() -> None:
    with pytest.raises(EvaluationError, match="inputs has no"):
        script("echo ${inputs.nothing}")


# Commands: what is written and carried


def test_values_travel_in_variables() -> None:
    assert script("a ${item} \"${inputs.count}\" '${secrets.TOKEN}' ${inputs.object}") == Script(
        'a "${CPF_VALUE_1}" "${CPF_VALUE_2}" \'\'"${CPF_VALUE_3}"\'\' "${CPF_VALUE_4}"',
        {"CPF_VALUE_1": "one", "CPF_VALUE_2": "3", "CPF_VALUE_3": "s3cret", "CPF_VALUE_4": '{"k":null}'},
    )


def test_a_list_alone_becomes_a_word_for_each_element() -> None:
    assert script("a ${inputs.list} b", list=["x", 1, ["y"]]) == Script(
        'a "${CPF_VALUE_1_1}" "${CPF_VALUE_1_2}" "${CPF_VALUE_1_3}" b',
        {"CPF_VALUE_1_1": "x", "CPF_VALUE_1_2": "1", "CPF_VALUE_1_3": '["y"]'},
    )


def test_an_empty_list_becomes_no_word() -> None:
    assert script("a ${inputs.list} b", list=[]) == Script("a  b", {})


@pytest.mark.parametrize(
    "command", ['a "${inputs.list}"', "a x${inputs.list}", "> ${inputs.list}", "[ ${inputs.list} ]"]
)
def test_a_list_elsewhere_is_one_word_of_json(command: str) -> None:
    assert script(command).variables == {"CPF_VALUE_1": '["a","b c"]'}


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, "3"), (-3, "-3"), ("7", "7"), ("010", "10"), ("-007", "-7"), ("-0", "0"), (10**18 - 1, "9" * 18)],
)
def test_an_integer_is_let_through_where_the_shell_computes(value: Any, number: str) -> None:
    assert script("exit $((${inputs.n}))", n=value) == Script(
        "exit $((${CPF_VALUE_1}))", {"CPF_VALUE_1": number}
    )


@pytest.mark.parametrize(
    "value",
    [
        "a[$(touch x)]",
        "",
        " 1",
        "1\n",
        "1+1",
        "0x1",
        "1.0",
        1.0,
        True,
        None,
        "٣",
        [],
        [1],
        10**18,
        -(10**18),
        "9" * 19,
    ],
)
def test_nothing_else_is(value: Any) -> None:
    with pytest.raises(EvaluationError, match=r"only an integer .*arithmetic"):
        script("echo $((${inputs.n}))", n=value)


@pytest.mark.parametrize(
    "name",
    ["eval", ".", "bash", "/bin/sh", "env", "exec", "unset", ["eval", "x"], [], ["psql", "-c", "x"]],
)
def test_a_value_names_no_command_that_takes_code(name: Any) -> None:
    with pytest.raises(EvaluationError, match="command"):
        script("${inputs.name} x", name=name)


@pytest.mark.parametrize("name", ["ls", "./run", ["git", "log"], "", "python3", ["python3", "x.py"]])
def test_a_value_may_name_another_command(name: Any) -> None:
    assert set(script("${inputs.name} x", name=name).variables.values()) == set(
        [name] if isinstance(name, str) else name
    )


def test_a_command_that_is_looked_up_may_have_any_name() -> None:
    assert script("command -v ${inputs.name}", name="bash").variables == {"CPF_VALUE_1": "bash"}


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "x" * MAX_ARGUMENT_BYTES, ["x", "a\0"]])
@pytest.mark.parametrize("command", ["echo ${inputs.v}", "echo ${raw:inputs.v}"])
def test_what_no_process_can_be_given_is_refused(command: str, value: Any) -> None:
    if value == ["x", "a\0"] and "raw" in command:
        value = "\0"
    with pytest.raises(EvaluationError):
        script(command, v=value)


def test_the_longest_value_is_let_through() -> None:
    value = "x" * (MAX_ARGUMENT_BYTES - len("CPF_VALUE_1="))
    assert script("echo ${inputs.v}", v=value).variables == {"CPF_VALUE_1": value}
    with pytest.raises(EvaluationError, match="in a file"):
        script("echo ${inputs.v}", v=value + "x")


def test_bytes_are_counted_not_characters() -> None:
    with pytest.raises(EvaluationError, match="bytes"):
        script("echo ${inputs.v}", v="é" * (MAX_ARGUMENT_BYTES // 2))


def test_a_mebibyte_altogether_is_too_much() -> None:
    assert len(script("echo ${inputs.v}", v=["x" * 100_000] * 10).variables) == 10
    with pytest.raises(EvaluationError, match="altogether"):
        script("echo ${inputs.v}", v=["x" * 100_000] * 11)


# Raw text


def test_raw_text_is_part_of_the_script() -> None:
    assert script("echo ${raw:inputs.v} '${raw:inputs.count}'", v="$HOME; ls") == Script(
        "echo $HOME; ls '3'", {}
    )


def test_raw_text_is_not_looked_at_for_holes() -> None:
    assert script("echo ${raw:inputs.brace} ${item}").text == 'echo ${inputs.name} "${CPF_VALUE_1}"'


@pytest.mark.parametrize("raw", ["'", "eval", "a; eval", "$((", "cat <<E", "\\"])
def test_raw_text_moves_no_value_to_where_it_would_be_code(raw: str) -> None:
    command = "${raw:inputs.v} ${inputs.name}" if raw != "\\" else "a ${raw:inputs.v}${inputs.name}"
    with pytest.raises(EvaluationError, match="raw text"):
        script(command, v=raw)


def test_a_value_is_written_as_the_raw_text_around_it_wants() -> None:
    command = 'echo "${raw:inputs.v}${item}${raw:inputs.v}"'
    assert script(command, v="a").text == 'echo "a${CPF_VALUE_1}a"'
    assert script(command, v='"').text == 'echo """${CPF_VALUE_1}"""'


def test_a_refusal_does_not_tell_the_raw_text() -> None:
    with pytest.raises(EvaluationError) as caught:
        script("${raw:inputs.v} ${item}", v="s3cret)")
    assert "s3cret" not in str(caught.value)


# Refusals


def test_a_refused_hole_is_pointed_at() -> None:
    error = refused("echo a\neval ${inputs.x}")
    assert (error.text, error.column) == ("eval ${inputs.x}", 6)
    assert "as an argument" in (error.hint or "")


def test_a_command_holds_no_nul() -> None:
    assert refused("echo \0").column == 6


def test_a_command_that_no_shell_can_be_given_is_refused() -> None:
    assert parse_command("x" * MAX_ARGUMENT_BYTES, "sh")
    assert "bytes" in refused("x" * (MAX_ARGUMENT_BYTES + 1)).problem


def test_a_script_that_its_raw_text_makes_too_long_is_refused() -> None:
    with pytest.raises(EvaluationError, match="bytes"):
        script("echo " + "y" * 100_000 + "${raw:inputs.v}", v="x" * 100_000)


def test_a_command_has_so_many_holes_and_no_more() -> None:
    assert len(command_holes(parse_command("${item} " * MAX_HOLES, "sh"))) == MAX_HOLES
    assert str(MAX_HOLES) in refused("${item} " * (MAX_HOLES + 1)).problem


def test_the_holes_of_a_command_say_where_they_stand() -> None:
    found = command_holes(parse_command("a ${item} '${inputs.x}' ${raw:item} $((${inputs.n}))", "sh"))
    assert [(hole.expression.text, hole.form, hole.context.name) for hole in found] == [
        ("item", "value", "a bare word"),
        ("inputs.x", "value", "single quotes"),
        ("item", "raw", "the script"),
        ("inputs.n", "value", "arithmetic"),
    ]


@pytest.mark.parametrize("text", ["a ${{ inputs.name }}", "a ${{inputs.name}}"])
def test_a_hole_in_the_braces_of_other_tools_is_refused(text: str) -> None:
    for parse in (parse_template, lambda text: parse_command(text, "sh")):
        with pytest.raises(ExpressionError) as refused:
            parse(text)
        assert (refused.value.problem, refused.value.column) == ("a hole has one pair of braces", 3)
        assert refused.value.hint == "write ${inputs.name}; for the text itself, $${{ inputs.name }}"


def test_the_text_itself_of_such_a_hole_can_be_had() -> None:
    assert render_text(parse_template("a $${{ inputs.name }}"), SCOPE) == "a ${{ inputs.name }}"
    assert render(parse_template('${{"inputs": 1}}'), SCOPE) == {"inputs": 1}


def test_a_default_in_the_way_of_shells_belongs_into_the_schema() -> None:
    for text in ("${inputs.name:-x}", "a ${inputs.name:=x}"):
        with pytest.raises(ExpressionError) as refused:
            parse_command(text, "sh")
        hint = "write ${default(inputs.name, …)}, or give it a `default:` in its schema"
        assert (refused.value.hint or "").removeprefix("a ") == hint


@pytest.mark.parametrize(
    "within",
    [
        "inputs.x%.txt", "inputs.x//a/b", "inputs.x/a/b", "inputs.x/.txt/",
        "inputs.x^^", "inputs.x,,", "inputs.x:0:3", "inputs.x:?no",
        "inputs.x@Q", "#inputs.x", "!inputs.x",
    ],
)  # fmt: skip
def test_what_only_the_shells_own_variables_can_do_is_told_by_way_of_one(within: str) -> None:
    assert (refused(f"echo ${{{within}}}", "bash").hint or "").startswith("assign it first")
    assert script(f"echo $${{{within}}}", "bash").variables == {}


@pytest.mark.parametrize("within", ["inputs.x % 2", "2 * inputs.x % 3"])
def test_arithmetic_is_told_as_such(within: str) -> None:
    assert "compute in a cli step" in (refused(f"echo ${{{within}}}").hint or "")
