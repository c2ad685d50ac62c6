"""Comparing clips without names: what is asked, the file of answers, Bradley-Terry scores, and the page."""

import json
import math
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import scipy.special
import scipy.stats
import serving
import tiny
from click.testing import CliRunner
from fastapi.testclient import TestClient

from vbench_ctl import files, leaderboard, rows
from vbench_ctl.cli import main
from vbench_ctl.errors import UsageError, VbenchError
from vbench_ctl.play import blind, preference, server
from vbench_ctl.play.blind import Answer, Poll, Voter

EVIL = ("<script>alert(1)</script>", "=cmd|'/C calc'!A0", "../../etc\n'+x")


@pytest.fixture
def outputs(tmp_path) -> list[Path]:
    """Two models on three clips, whose names are as bad as they can be."""
    folders = []
    for number, name in enumerate(EVIL[:2]):
        folder = tmp_path / f"outputs-{number}"
        tiny.write_outputs(folder, {f"test/{clip}@0#0": tiny.noise(1, 10 * number + clip)[0] for clip in range(3)})
        files.write_json(folder / "manifest.json", {"model": name, "protocol": "tiny-c2-p4@1"})
        folders.append(folder)
    return folders


@pytest.fixture
def poll(outputs, tmp_path) -> Poll:
    return blind.poll(outputs, tmp_path / "answers.csv", "real")


def answers(wins: dict[tuple[str, str], float], clips: int = 10) -> list[Answer]:
    """Return answers in which the first of each pair won so many times against the second."""
    found = []
    for (a, b), count in wins.items():
        found += [Answer("now", "", "real", "p@1", f"clip {n % clips}", a, b, "left") for n in range(int(count))]
        found += [Answer("now", "", "real", "p@1", "clip 0", b, a, "tie")] * round(2 * (count - int(count)))
    return found


def answered(voter: Voter, word: str = "left") -> server.Reply:
    """Answer what a tab shows, and return what it shows then."""
    number = voter.shared.questions.index(voter.question)
    (reply,) = voter.answer({"do": "answer", "answer": word, "number": number})
    return reply


# What is asked


def test_every_pair_is_asked_once_on_every_clip_in_an_order_of_the_seed(outputs, tmp_path):
    polls = [blind.poll(outputs, tmp_path / "a.csv", "real", seed=seed) for seed in (0, 0, 1)]
    asked = [poll.questions for poll in polls]
    assert asked[0] == asked[1] != asked[2]
    assert {question.key for question in asked[0]} == {question.key for question in asked[2]} and len(asked[0]) == 3
    lefts = {blind.poll(outputs, tmp_path / "a.csv", "real", seed=seed).questions[0].left for seed in range(8)}
    assert lefts == set(EVIL[:2])  # sides change


def test_real_clips_compete_in_looks_and_are_shown_for_control(outputs, tmp_path):
    real = tiny.write_outputs(tmp_path / "real", {f"test/{clip}@0#0": tiny.noise(1, 99 + clip)[0] for clip in range(3)})
    looks = blind.poll(outputs, tmp_path / "a.csv", "real", real)
    assert len(looks.questions) == 9 and "real" in looks.sides
    control = blind.poll(outputs, tmp_path / "a.csv", "control", real)
    assert len(control.questions) == 3 and "real" not in control.sides
    _, pair = Voter(control).greet()
    assert len(pair.clips) == 3
    with pytest.raises(UsageError, match="give them with --real"):
        blind.poll(outputs, tmp_path / "a.csv", "control")


def test_what_cannot_be_compared_is_refused(outputs, tmp_path):
    with pytest.raises(UsageError, match="one set of clips"):
        blind.poll(outputs[:1], tmp_path / "a.csv", "real")
    with pytest.raises(UsageError, match="another set of clips called"):
        blind.poll([outputs[0], outputs[0]], tmp_path / "a.csv", "real")
    files.write_json(outputs[0] / "manifest.json", {"model": "a", "protocol": "other@1"})
    with pytest.raises(UsageError, match="compare those of one protocol"):
        blind.poll(outputs, tmp_path / "a.csv", "real")
    other = tiny.write_outputs(tmp_path / "other", {"nothing": tiny.noise(1, 0)[0]})
    files.write_json(other / "manifest.json", {"model": "other", "protocol": "other@1"})
    with pytest.raises(UsageError, match="no clip of the same name"):
        blind.poll([outputs[0], other], tmp_path / "a.csv", "real")


def test_no_name_reaches_the_page(poll):
    hello, pair = Voter(poll).greet()
    said = json.dumps(hello) + json.dumps(pair.about)
    assert not any(name in said or json.dumps(name)[1:-1] in said for name in EVIL)
    assert not any(clip in said for clip in poll.sides[EVIL[0]].ids)


def test_answers_are_kept_and_not_asked_again(poll, outputs):
    voter = Voter(poll)
    voter.greet()
    question = poll.questions[0]
    following = answered(voter)
    assert following.about["done"] == 1
    (held,) = blind.read(poll.out)
    assert (held.clip, held.left, held.right, held.answer) == (*astuple(question), "left")
    again = blind.poll(outputs, poll.out, "real", seed=7)
    assert again.following().key != question.key and again.following().key != question.key and not again.following()
    assert blind.poll(outputs, poll.out, "real", rater="somebody else").progress() == {"done": 0, "of": 3}


def test_two_tabs_get_different_questions_and_a_closed_one_gives_its_back(poll):
    voters = [Voter(poll) for _ in range(4)]
    last = [voter.greet()[1] for voter in voters]
    assert len({voter.question.key for voter in voters[:3]}) == 3 and last[3]["kind"] == "end"
    voters[1].leave()
    voters[3].greet()
    assert voters[3].question.key == voters[1].question.key


@pytest.mark.parametrize("said", [{"do": "answer", "answer": "both"}, {"do": "answer"}, {"do": "x", "answer": "left"}])
def test_what_is_no_answer_is_refused(poll, said):
    voter = Voter(poll)
    voter.greet()
    with pytest.raises(UsageError, match="expected an answer"):
        voter.answer({"number": 0, **said})
    assert not poll.out.exists()


def test_an_answer_is_to_the_pair_that_is_shown(poll):
    voter = Voter(poll)
    _, shown = voter.greet()
    for number in (shown.about["number"] + 1, None):
        with pytest.raises(UsageError, match="not to the pair that is shown"):
            voter.answer({"do": "answer", "answer": "left", "number": number})
    assert not poll.out.exists()
    answered(voter)
    with pytest.raises(UsageError, match="not to the pair that is shown"):  # a button that was pressed twice
        voter.answer({"do": "answer", "answer": "left", "number": shown.about["number"]})
    assert len(blind.read(poll.out)) == 1


def test_a_pair_that_cannot_be_read_is_passed_over_and_never_voted_on(poll, outputs, capsys):
    voter = Voter(poll)
    voter.greet()
    first, second, third = poll.questions
    (outputs[1] / f"{second.clip}.mkv").write_bytes(b"damaged")
    reply = answered(voter)
    assert reply.about == {"kind": "pair", "number": 2, "done": 1, "of": 2}
    assert f'not asked about on "{second.clip}": {outputs[1]}' in capsys.readouterr().err  # not to who answers
    answered(voter)
    assert [answer.clip for answer in blind.read(poll.out)] == [first.clip, third.clip]


def test_where_nothing_can_be_read_there_is_an_end(poll, outputs):
    for clip in outputs[0].rglob("*.mkv"):
        clip.unlink()
    voter = Voter(poll)
    assert voter.greet()[1] == {"kind": "end", "done": 0, "of": 0}
    with pytest.raises(UsageError, match="expected an answer"):
        voter.answer({"do": "answer", "answer": "left", "number": 0})
    assert not poll.out.exists()


def test_one_rater_at_two_servers_is_asked_everything_once(outputs, tmp_path):
    voters = [Voter(blind.poll(outputs, tmp_path / "a.csv", "real", seed=seed, rater="ann")) for seed in (0, 0, 5)]
    shown = [voter.greet()[1] for voter in voters]
    while any(isinstance(reply, server.Frames) for reply in shown):
        shown = [answered(voter) if voter.question else reply for voter, reply in zip(voters, shown, strict=True)]
    given = blind.read(tmp_path / "a.csv")
    assert len(given) == len({answer.key for answer in given}) == 3
    assert shown == [{"kind": "end", "done": 3, "of": 3}] * 3


def test_real_clips_of_other_names_are_what_is_wrong(outputs, tmp_path):
    real = tiny.write_outputs(tmp_path / "real", {"test/0": tiny.noise(1, 99)[0]})
    for question in ("control", "real"):
        with pytest.raises(
            UsageError, match=r'no clip of --real .* such as "test/0@0#0"; .* vbench-ctl generate truth'
        ):
            blind.poll(outputs, tmp_path / "a.csv", question, real)


def test_a_split_of_what_has_none_is_refused(outputs, tmp_path):
    with pytest.raises(UsageError, match="no store, and so without splits"):
        blind.poll(outputs[:1], tmp_path / "a.csv", "real", outputs[1], split="test")
    with pytest.raises(UsageError, match="--split is of the real clips"):
        blind.poll(outputs, tmp_path / "a.csv", "real", split="test")


@pytest.mark.parametrize("rater", ["a\rb", "a\nb", "\x1b[2J", "\udcff"])
def test_a_rater_has_a_name_that_can_be_seen(outputs, tmp_path, rater):
    with pytest.raises(UsageError, match="characters that nobody sees"):
        blind.poll(outputs, tmp_path / "a.csv", "real", rater=rater)


# The file


@pytest.mark.parametrize("name", [*EVIL, "'=x", "''=x", "'x", 'a,b"c', "-1", "@x", "\tx", "", "a\rb", "\r\nx"])
def test_malicious_names_are_no_formulas_and_come_back_as_they_were(tmp_path, name):
    path = tmp_path / "a.csv"
    given = [Answer("now", name, "real", name, name, name, other, "tie") for other in ("b", "c")]
    for answer in given:
        blind.append(path, answer)
    assert blind.read(path) == given
    text = path.read_text(encoding="utf-8").partition("\n")[2]
    assert not any(cell.strip('"')[:1] in "=+-@\t" for cell in text.split(",") if cell.strip('"'))


def test_a_stop_while_writing_loses_no_answer(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    (given,) = answers({("a", "b"): 1})
    blind.append(path, given)

    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        blind.append(path, replace(given, clip="another"))
    assert blind.read(path) == [given]
    assert [each.name for each in tmp_path.glob("*.csv")] == ["a.csv"]


@pytest.mark.parametrize("edited", [bytes.rstrip, lambda data: b"\xef\xbb\xbf" + data, lambda data: b""])
def test_a_file_that_an_editor_saved_takes_the_next_answer(tmp_path, edited):
    given = blind.Answer("2026-01-02", "me", "real", "p@1", "a", "left one", "right one", "tie")
    path = tmp_path / "answers.csv"
    blind.append(path, given)
    path.write_bytes(edited(path.read_bytes()))
    before = blind.read(path)
    following = replace(given, clip="b")
    blind.append(path, following)
    assert blind.read(path) == [*before, following]


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "at,rater,question,protocol,clip,left,right,answer\n1,2,3\n"])
def test_another_file_is_explained(tmp_path, text):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(VbenchError, match="line 2: expected the columns"):
        blind.read(tmp_path / "a.csv")


# Bradley-Terry


@pytest.mark.parametrize(("won", "lost"), [(7, 3), (1, 99), (5, 5), (2.5, 0.5)])
def test_the_scores_of_two_differ_by_their_log_odds(won, lost):
    found = preference.bradley_terry(np.array([[0, won], [lost, 0]]))
    assert found.values[0] - found.values[1] == pytest.approx(math.log(won / lost), abs=1e-9)
    assert found.values.sum() == pytest.approx(0, abs=1e-12) and not found.continued


def test_wins_in_the_ratio_of_strengths_give_those_strengths():
    strengths = np.array([0.2, 1.0, 3.0, 8.0])
    wins = 100 * strengths[:, None] / (strengths[:, None] + strengths)
    np.fill_diagonal(wins, 0)
    wins[0, 3] = wins[3, 0] = 0  # not all need to meet
    expected = np.log(strengths) - np.log(strengths).mean()
    assert preference.bradley_terry(wins).values == pytest.approx(expected, abs=1e-8)


def test_the_score_is_the_same_in_any_order_of_items():
    wins = np.random.default_rng(0).integers(1, 9, (5, 5)).astype(float)
    np.fill_diagonal(wins, 0)
    order = np.array([3, 0, 4, 1, 2])
    turned = preference.bradley_terry(wins[np.ix_(order, order)]).values
    assert turned == pytest.approx(preference.bradley_terry(wins).values[order], abs=1e-9)


def test_who_always_wins_gets_half_a_loss():
    found = preference.bradley_terry(np.array([[0.0, 9], [0, 0]]))
    assert found.continued and found.values[0] - found.values[1] == pytest.approx(math.log(9.5 / 0.5))
    rows_of = {row.model: row for row in preference.rows(answers({("a", "b"): 9}))}
    assert "won all" in rows_of["a"].note and "lost all" in rows_of["b"].note
    assert rows_of["a"].value > rows_of["b"].value


def test_who_was_never_compared_has_no_score():
    found = preference.bradley_terry(np.array([[0.0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]))
    assert np.isfinite(found.values).tolist() == [True, True, False, False]
    apart = preference.rows(answers({("a", "b"): 3, ("b", "a"): 2, ("b", "c"): 1, ("c", "b"): 1, ("x", "y"): 4}))
    by_name = {row.model: row for row in apart}
    assert by_name["x"].value is None and "never compared" in by_name["x"].note
    assert by_name["a"].value is not None


def test_ties_count_half_for_both():
    tied = preference.rows(answers({("a", "b"): 1.5, ("b", "a"): 1}))
    by_name = {row.model: row.value for row in tied}
    assert by_name["a"] - by_name["b"] == pytest.approx(math.log(1.5 + 0.0) - math.log(1.5), abs=1e-9)


def bounds(won: int, of: int) -> tuple[float, float]:
    """Return the interval of who won so many comparisons with one other, each on a clip of its own."""
    wins = np.zeros((of, 2, 2))
    wins[:won, 0, 1] = wins[won:, 1, 0] = 1
    low, high = preference._interval(wins)
    return low[0], high[0]


@pytest.mark.parametrize("of", [30, 100])
def test_the_interval_of_two_holds_the_truth_however_often_one_wins(of):
    """Exactly: the chance of each number of wins, where its interval holds the true score."""
    low, high = np.transpose([bounds(won, of) for won in range(of + 1)])
    held = {}
    for chance in (0.5, 0.65, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99):
        score = math.log(chance / (1 - chance)) / 2
        held[chance] = scipy.stats.binom.pmf(range(of + 1), of, chance)[(low <= score) & (score <= high)].sum()
    assert min(held.values()) > 0.9 and held[0.5] == pytest.approx(0.95, abs=0.02), held
    assert np.all(np.diff(low) > 0) and np.all(np.diff(high) > 0)
    assert (low[-1], high[-1]) == pytest.approx((-high[0], -low[0]), abs=0.5)
    expected = scipy.special.logit(scipy.stats.beta.ppf([0.025, 0.975], of / 2 + 0.5, of / 2 + 0.5)) / 2  # Jeffreys
    assert (low[of // 2], high[of // 2]) == pytest.approx(expected, abs=0.04)


def test_the_intervals_of_three_hold_the_truth_where_one_nearly_always_wins():
    truth, of, trials = np.array([2.0, -1.0, -1.0]), 30, 100  # 95 % of comparisons
    rng, held = np.random.default_rng(0), np.zeros(3)
    for _ in range(trials):
        won = np.triu(rng.random((of, 3, 3)) < scipy.special.expit(truth[:, None] - truth), 1)
        wins = won + np.triu(~won, 1).swapaxes(1, 2)
        low, high = preference._interval(wins)
        held += (low <= truth) & (truth <= high)
    assert min(held / trials) >= 0.9, held / trials


# Rows


def test_rows_have_intervals_and_stand_in_a_leaderboard(tmp_path):
    found = preference.rows(answers({("a", "b"): 30, ("b", "a"): 10, ("a", "c"): 20, ("c", "a"): 20}, clips=20))
    assert [row.model for row in found] == ["a", "b", "c"]
    for row in found:
        assert row.low <= row.value <= row.high and row.direction == "higher" and row.metric == "preference"
    assert found == preference.rows(answers({("a", "b"): 30, ("b", "a"): 10, ("a", "c"): 20, ("c", "a"): 20}, clips=20))
    rows.save(tmp_path / "rows.json", found)
    assert rows.load(tmp_path / "rows.json") == found
    (table,) = leaderboard.tables(found)
    assert next(iter(table.cells)) == "a" and table.protocol == "p@1"


def test_scores_among_other_models_or_of_another_question_share_no_column():
    two, three = (
        preference.rows(answers({("a", "b"): 2, ("b", "a"): 1})),
        preference.rows(answers({("a", "b"): 2, ("b", "a"): 1, ("a", "c"): 1, ("c", "a"): 1})),
    )
    assert two[0].signature != three[0].signature
    with pytest.raises(VbenchError, match="no answers yet"):
        preference.rows([])


def test_the_report_is_printed_as_a_table_and_as_json(tmp_path):
    for answer in answers({(EVIL[0], EVIL[1]): 2, (EVIL[1], EVIL[0]): 1}):
        blind.append(tmp_path / "a.csv", answer)
    done = CliRunner().invoke(main, ["blind", "--report", str(tmp_path / "a.csv")])
    assert done.exit_code == 0 and "preference" in done.stdout and "<script>" not in done.stdout
    done = CliRunner().invoke(main, ["blind", "--report", str(tmp_path / "a.csv"), "--json"])
    assert {row["model"] for row in json.loads(done.stdout)} == set(EVIL[:2])
    done = CliRunner().invoke(main, ["blind"])
    assert done.exit_code == 2 and "--report" in done.stderr


# The page


def test_its_page_is_guarded(poll):
    client = TestClient(server.app(poll.page, "t"), base_url="http://127.0.0.1:8765")
    assert client.get("/t/").status_code == 200 and client.get("/wrong/").status_code == 403


def test_keys_and_buttons_answer_in_a_browser(poll, page):
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    with serving.serving(poll.page, serving.free_port()) as address:
        page.goto(address)
        page.get_by_text("0 of 3 answered").wait_for()
        assert not any(name in page.content() for name in EVIL[:2])
        page.keyboard.press("ArrowLeft")
        page.get_by_text("1 of 3 answered").wait_for()
        page.get_by_role("button", name="Right").click()
        page.get_by_text("2 of 3 answered").wait_for()
        page.keyboard.press("ArrowDown")
        page.get_by_text("That was all").wait_for()
        assert errors == []
    assert [answer.answer for answer in blind.read(poll.out)] == ["left", "right", "tie"]
