"""The verbs and the calls: each of one is one of the other, and an option is said once."""

import inspect
from typing import Annotated

import pytest

import flat_mapper as fm
from flat_mapper.api import questions
from flat_mapper.api.options import Flag, answers, call_of, options_of
from flat_mapper.cli import arguments
from flat_mapper.cli.arguments import VERBS, Shown, Verb, grammar, parsed

# What reads files or keeps answers, and asks nothing of a search or a mapping.
VALUES = {
    *("attention", "load_architecture", "load_mapspace", "load_platform", "load_problem"),
    *("load", "load_results", "save"),
}
QUESTIONS = [question for verb in VERBS.values() for question in verb.questions]


def test_every_verb_is_a_call_and_every_call_a_verb() -> None:
    calls = {n for n in fm.__all__ if inspect.isfunction(getattr(fm, n))}
    assert {call_of(question) for question in QUESTIONS} == calls - VALUES
    assert len(QUESTIONS) == len(set(QUESTIONS))


@pytest.mark.parametrize("question", [*QUESTIONS, questions.AskLoadProblem])
def test_a_call_has_the_options_of_its_verb_each_with_help(question: type) -> None:
    call = getattr(fm, call_of(question))
    options = options_of(question)
    assert list(inspect.signature(call).parameters) == list(options)
    for name, option in options.items():
        assert option.help, name
        assert f"\n{name}: " in call.__doc__
    verbs = [grammar()[1][name] for name, verb in VERBS.items() if question in verb.questions]
    words = {text for verb in verbs for action in verb._actions for text in action.option_strings}
    flags = [o for o in options.values() if o.flag and o.words[0].startswith("-")]
    assert not verbs or {word for option in flags for word in option.words} <= words


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_option_of_a_question_is_a_word_for_its_answer(question: type) -> None:
    """`--json` and `--force` are the command's, and so is `-o` where no question has it."""
    words = {word for o in options_of(question).values() if o.flag for word in o.words}
    shown = {word for o in options_of(Shown).values() if o.flag for word in o.words}
    assert words & shown <= {"-o", "--output"}


def test_an_option_is_one_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shout(questions.AskShipped):
        """What ships, aloud.

        times: so many times
        """

        times: Annotated[int | None, Flag("N")] = None

    @answers(Shout)
    def shout(asked: Shout) -> str:
        """The text."""
        return asked.kind * (asked.times or 1)

    monkeypatch.setitem(arguments.VERBS, "shout", Verb("files", (Shout,)))
    assert str(inspect.signature(shout)) == "(kind: str = '', *, times: int | None = None) -> str"
    assert "times: so many times." in (shout.__doc__ or "")
    said = parsed(["shout", "arch", "--times", "2"])
    assert said is not None
    assert (said.question, said.values) == (Shout, {"kind": "arch", "times": 2})
    assert shout(**said.values) == "archarch"
    with pytest.raises(fm.SpecError, match="--times: expected int > 0, got 0"):
        parsed(["shout", "--times", "0"])
    with pytest.raises(TypeError, match=r"shout\(\) got an unexpected keyword argument 'tmies'"):
        shout(tmies=2)  # type: ignore[call-arg]


def test_an_option_of_all_verbs_is_one_edit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Noted(Shown):
        """seed_note: words that the answer repeats"""

        seed_note: Annotated[str, Flag("TEXT")] = ""

    monkeypatch.setattr(arguments, "Shown", Noted)
    assert all("--seed-note" in verb.options for verb in VERBS.values())
    asked = parsed(["list", "arch", "--seed-note", "a try", "--json"])
    assert asked is not None
    assert asked.shown.said() == {"seed_note": "a try"}  # what the JSON has besides
