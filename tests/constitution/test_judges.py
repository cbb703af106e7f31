"""The judges that read a model: token bookkeeping on a tiny one, and the linear head on synthetic data."""

from dataclasses import replace

import numpy as np
import pytest

from solon.constitution.certificate import certify
from solon.constitution.compare import BEGINNING, comparison_conversation
from solon.constitution.judges.probe import STRENGTHS, Head, calibrate, fit_head, reply_row
from solon.constitution.judging import Labelled, Question, judge_by, prompt_key
from solon.constitution.store import load
from solon.core import plugins
from solon.core.errors import ConfigError, DataError, MissingError, ModelError
from solon.core.keys import rng
from solon.core.records import Message, conversation, user

BOOK = load("core")
HARM = BOOK.principle("harm.general")


def pairs(n, prefix="p"):
    return [
        Labelled(f"{prefix}{i}", user(f"{prefix} {i}?"), f"kind words {i}", f"bad {i}", "x", HARM) for i in range(n)
    ]


def synthetic(n, features=12, noise=1.0, name="x"):
    """Differences whose first feature decides, and the outcome by which each pair is turned."""
    draw = rng("synthetic", name)
    difference = draw.normal(size=(n, features)) * np.linspace(1, 50, features)
    margin = 2 * difference[:, 0] + noise * draw.logistic(size=n)
    return np.where(margin[:, None] > 0, difference, -difference)


def test_judges_are_found_by_file_name():
    assert plugins.names("judges") == ["api", "probe", "self"]
    with pytest.raises(MissingError, match="did you mean 'probe'"):
        judge_by("prob", BOOK, {})
    for kind in ("self", "probe"):
        with pytest.raises(ConfigError, match="none was given"):
            judge_by(kind, BOOK, {})


def test_the_head_finds_the_direction():
    head = fit_head(synthetic(400), ["harm"] * 400, [str(i // 2) for i in range(400)])
    new = synthetic(2000, name="new")
    p = head.probability(new, ["harm"] * 2000)
    right = float((p > 0.5).mean())
    best = float((new[:, 0] > 0).mean())  # what the true direction would score: the labels are noisy
    assert best > 0.75 and right > best - 0.04
    # Calibrated: the mean probability of being right is how often it is.
    assert np.abs(np.maximum(p, 1 - p).mean() - right) < 0.04
    strength = np.abs(head.weight.sum(0))
    assert strength.argmax() == 0 and strength[0] > 4 * np.delete(strength, 0).max()


def test_each_pillar_has_weights_of_its_own():
    """What is better by one pillar is worse by the other, and one direction is shared: no single direction fits both."""
    def drawn(name, n):
        draw = rng("pillars", name)
        x, pillars = draw.normal(size=(n, 6)), [("harm", "help")[i % 2] for i in range(n)]
        margin = x[:, 1] + np.where(np.arange(n) % 2 == 0, 3, -3) * x[:, 0]
        return np.where(margin[:, None] > 0, x, -x), pillars

    (known, pillars), (new, others) = drawn("train", 300), drawn("test", 500)
    groups = [str(i) for i in range(300)]
    right = lambda head, of: float((head.probability(new, of) > 0.5).mean())  # noqa: E731
    apart, pooled = fit_head(known, pillars, groups), fit_head(known, ["all"] * 300, groups)
    assert right(apart, others) > 0.93 and right(pooled, ["all"] * 500) < 0.7
    # A pillar that nobody labelled gets what the others share.
    shared = apart.probability(np.eye(6), ["honesty"] * 6)
    assert shared.argmax() == 1 and abs(shared[0] - 0.5) < 0.2


def test_the_head_is_symmetric():
    head, new = fit_head(synthetic(60), ["a", "b"] * 30, [str(i) for i in range(60)]), synthetic(50, name="new")
    of = ["a", "c"] * 25
    np.testing.assert_allclose(head.probability(new, of) + head.probability(-new, of), 1, atol=1e-12)
    assert head.probability(np.zeros((1, 12)), ["a"]) == 0.5


def test_a_constant_feature_and_noise_do_no_harm():
    noise = rng("noise").normal(size=(200, 30))
    head = fit_head(np.hstack([noise, np.zeros((200, 1))]), ["a", "b"] * 100, [str(i) for i in range(200)])
    p = head.probability(np.hstack([rng("more").normal(size=(500, 30)), np.zeros((500, 1))]), ["a", "b"] * 250)
    assert np.abs(p - 0.5).max() < 0.35 and head.strength in STRENGTHS


def test_groups_stay_together():
    """Two pairs of a prompt share an accident; folds that split them would choose to learn it by heart."""
    draw = rng("groups")
    twins = np.repeat(draw.normal(size=(60, 80)), 2, 0)
    turned = twins * np.repeat(np.where(draw.random(60) < 0.5, 1.0, -1.0), 2)[:, None]
    sure = lambda groups: np.abs(fit_head(turned, ["a"] * 120, groups).probability(turned, ["a"] * 120) - 0.5).mean()  # noqa: E731
    assert sure([str(i // 2) for i in range(120)]) < sure([str(i) for i in range(120)])


def test_calibration_of_margins():
    draw = rng("margins")
    p = draw.random(20_000)
    margin = 3 * np.log(p / (1 - p))
    margin = np.where(draw.random(20_000) < p, margin, -margin)
    assert calibrate(margin)[1] == pytest.approx(3, rel=0.05)
    flawless = calibrate(np.full(100, 1e-3))
    assert 1 / (1 + np.exp(-1e-3 / flawless[1])) == pytest.approx(101 / 102, abs=1e-3)


def test_too_little_or_broken_data():
    with pytest.raises(DataError, match="too few"):
        fit_head(synthetic(5), ["a"] * 5, list("abcde"))
    with pytest.raises(DataError, match="too few"):
        fit_head(synthetic(20), ["a"] * 20, ["same"] * 20)
    with pytest.raises(DataError, match="not a number"):
        fit_head(np.full((20, 3), np.nan), ["a"] * 20, [str(i) for i in range(20)])


def test_a_head_is_kept_without_pickle(tmp_path):
    fitted = fit_head(synthetic(40), ["a", "b"] * 20, [str(i) for i in range(40)])
    head = replace(fitted, model="digest", fitted_on=frozenset(["0" * 16]))
    head.save(tmp_path / "head.npz")
    again = Head.from_file(tmp_path / "head.npz")
    new = synthetic(9, name="new")
    of = [*"ab" * 4, "c"]
    assert (again.probability(new, of) == head.probability(new, of)).all()
    assert (again.model, again.fitted_on, again.strength) == ("digest", head.fitted_on, head.strength)
    with pytest.raises(ModelError, match="does not fit"):
        head.probability(new[:, :3], of)
    with pytest.raises(MissingError):
        Head.from_file(tmp_path / "none.npz")
    np.savez(tmp_path / "pickled.npz", weight=np.array([{}], dtype=object))
    (tmp_path / "text.npz").write_text("no archive")
    for name in ("pickled.npz", "text.npz"):
        with pytest.raises(DataError, match="not the head of a probe"):
            Head.from_file(tmp_path / name)


def test_only_the_last_reply_is_marked(tiny_tokenizer):
    prompt = conversation(("user", "one"), ("assistant", "two"), ("user", "three"))
    row = reply_row(tiny_tokenizer, prompt, "four")
    assert tiny_tokenizer.decode([id for id, own in zip(row.ids, row.learn, strict=True) if own]) == "four<|im_end|>"


def test_probe_learns_what_the_labels_share(tiny_model, tmp_path):
    judge = judge_by("probe", BOOK, {"folds": 3}, tiny_model, pairs(24))
    held_out = pairs(12, "new")
    certificate = certify(judge, held_out)
    assert certificate.accuracy.value == 1 and certificate.accepted
    assert certificate.position_bias.mean_gap == pytest.approx(0, abs=1e-12) and certificate.position_bias.flips == 0
    judge.save(tmp_path / "head.npz")
    again = judge_by("probe", BOOK, {"head": str(tmp_path / "head.npz")}, tiny_model)
    asked = [one.question(True) for one in held_out]
    assert again.prefer(asked) == judge.prefer(asked) and again.prefer([]) == []
    assert again.fitted_on == {prompt_key(one.prompt) for one in pairs(24)}
    with pytest.raises(DataError, match="fitted on prompts of its own certificate"):
        certify(again, [*held_out, pairs(1)[0]])
    too_long = Question("long", user("x " * 600), "a", "b", HARM)
    opinions = judge.prefer([too_long, asked[0]])
    assert opinions[0].p_first is None and "context" in opinions[0].note and opinions[1].p_first > 0.5


def test_probe_refuses(tiny_model, tmp_path):
    Head(np.ones((1, 2)), (), np.ones(2), 1.0, 1.0, "another").save(tmp_path / "head.npz")
    with pytest.raises(ModelError, match="another model"):
        judge_by("probe", BOOK, {"head": str(tmp_path / "head.npz")}, tiny_model)
    with pytest.raises(DataError, match="too few"):
        judge_by("probe", BOOK, {}, tiny_model, pairs(3))
    with pytest.raises(ConfigError, match="did you mean 'folds'"):
        judge_by("probe", BOOK, {"fold": 3}, tiny_model, pairs(20))


@pytest.fixture
def reader(tiny_model):
    """The tiny model with room for the few-shot comparisons."""
    from dataclasses import replace

    return replace(tiny_model, arch=replace(tiny_model.arch, context=4096))


def test_self_judge_reads_the_letters_of_a_whole_answer(reader):
    """Against the plain way: the log-probability of the letter in the whole conversation, from the scorer of rows."""
    from solon.constitution.judges.self import letter_tokens
    from solon.generate.score import row_logprobs
    from solon.text.template import Tokens, encode_chat

    asked = [one.question(True) for one in pairs(3)]
    seen = []
    judge = judge_by("self", BOOK, {"blocks": 2, "shots": 1, "seed": 5}, reader)
    opinions = judge.prefer(asked, lambda *at: seen.append(at))
    assert seen[-1] == (3, 3)
    tokenizer = reader.tokenizer
    for one, opinion in zip(asked, opinions, strict=True):
        logp = []
        block = judge._block(one)
        turns, beginning = comparison_conversation(BOOK, one, 5, block, shots=1)
        assert beginning == BEGINNING
        prompt, letters = letter_tokens(tokenizer, turns, beginning)
        assert [tokenizer.decode(list(ids)) for ids in letters] == ["A", "B"]
        assert tokenizer.decode(prompt).endswith("assistant\n" + BEGINNING)
        for letter in "AB":
            whole = encode_chat(tokenizer, (*turns, Message("assistant", f"{BEGINNING}{letter})")))
            learn = [place == len(prompt) for place in range(len(whole))]
            logp.append(row_logprobs(reader, [Tokens(whole, learn)])[0][0])
        assert opinion.p_forward == pytest.approx(1 / (1 + np.exp(logp[1] - logp[0])), abs=1e-4)
        assert opinion.p_first == pytest.approx((opinion.p_forward + 1 - opinion.p_backward) / 2)


def test_self_judge_does_not_depend_on_the_batch(reader):
    asked = [one.question(True) for one in pairs(5)]
    together = judge_by("self", BOOK, {"shots": 1}, reader).prefer(asked)
    apart = judge_by("self", BOOK, {"shots": 1, "batch": 1}, reader).prefer(asked[::-1])[::-1]
    assert [o.p_first for o in together] == pytest.approx([o.p_first for o in apart], abs=1e-4)


def test_self_judge_abstains_where_the_context_ends(tiny_model):
    opinion = judge_by("self", BOOK, {}, tiny_model).prefer([pairs(1)[0].question(True)])[0]
    assert opinion.p_first is None and "context" in opinion.note
