"""Solon's suites against lm-eval: the same model, the same rows, lm-eval's own task files; no network.

Log-likelihoods agree to 1e-3 nats, accuracies exactly. Where lm-eval grades text, a stand-in model gives both sides the
same replies.
"""

from __future__ import annotations

import json
import os
import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
pytest.importorskip("torch")
lm_eval = pytest.importorskip("lm_eval")

from lm_eval.api.model import LM  # noqa: E402
from lm_eval.tasks import TaskManager  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from solon.core.weights import init  # noqa: E402
from solon.curate import starter  # noqa: E402
from solon.evals.asking import Ask, Means, Read, Room, Said  # noqa: E402
from solon.evals.suites import bbh, bbq, crows_pairs, gsm8k, hhh, mmlu, truthfulqa, winogender  # noqa: E402
from solon.models.architecture import spec  # noqa: E402
from solon.models.load import Model, family, load, to_tensors  # noqa: E402
from solon.stages import _benchmark_answers as answers  # noqa: E402

pytestmark = pytest.mark.parity
TASKS = Path(lm_eval.__file__).parent / "tasks"
ROOM = Room(2048, len)
ITEMS = 24


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "datasets"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_model) -> Path:
    """A random two-layer Llama with sharp opinions, as Hugging Face has it."""
    place = tmp_path_factory.mktemp("model")
    arch = replace(tiny_model.arch, context=4096)
    tiny_model.tokenizer.save(place)
    tensors = to_tensors(arch, family("llama").names(arch), init(spec(arch), arch.sizes, seed=3))
    tensors = {name: np.ascontiguousarray(value * (4.0 if "embed" in name else 1.0)) for name, value in tensors.items()}
    save_file(tensors, str(place / "model.safetensors"), {"format": "pt"})
    config = {
        "model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_size": arch.embed, "num_hidden_layers": arch.layers,
        "intermediate_size": arch.mlp, "num_attention_heads": arch.heads, "num_key_value_heads": arch.kv_heads,
        "head_dim": arch.head_dim, "vocab_size": arch.vocab, "max_position_embeddings": arch.context, "rms_norm_eps": arch.norm_eps,
        "tie_word_embeddings": arch.tied, "rope_theta": 10000.0, "torch_dtype": "float32",
    }  # fmt: skip
    (place / "config.json").write_text(json.dumps(config))
    return place


@pytest.fixture(scope="module")
def model(folder) -> Model:
    return load(str(folder))


def shared(path: str) -> list[dict[str, Any]] | None:
    """Rows of the public data, where `SOLON_DATA` holds them."""
    from solon.stages.benchmark import contents

    root = os.environ.get("SOLON_DATA")
    return contents(path) if root and (Path(root) / path).is_file() else None


def evaluated(task: dict[str, Any], rows: dict[str, list[dict[str, Any]]], lm: Any, folder: Path) -> tuple[list[Any], dict[str, Any]]:
    """lm-eval's samples in the order of the rows, and its results, for one task over local files; `lm` may be a path."""
    import yaml

    files = {}
    for split, table in rows.items():
        files[split] = str(folder / f"{task['task']}-{split}.jsonl")
        Path(files[split]).write_text("".join(json.dumps(row) + "\n" for row in table))
    path = folder / f"{task['task']}.yaml"
    config = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": {"data_files": files}, **task}
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    out = lm_eval.simple_evaluate(
        model="hf" if isinstance(lm, Path) else lm, tasks=[task["task"]], task_manager=manager, log_samples=True,
        bootstrap_iters=0, batch_size=8, device="cpu",
        model_args={"pretrained": str(lm), "dtype": "float32"} if isinstance(lm, Path) else None,
    )  # fmt: skip
    samples = sorted(out["samples"][task["task"]], key=lambda one: one["doc_id"])
    return samples, out["results"][task["task"]]


def theirs_and_ours(items, suite, model, samples) -> tuple[dict[str, float], float]:
    """Our mean figures over the items; fails where a log-likelihood or a context differs. Also the largest gap."""

    class Count:
        tokens = 0

    meter = answers._Meter(lambda by: None, len(items), 0)
    figures: dict[str, list[float]] = {}
    gap = 0.0
    for item, sample, (read, _) in zip(items, samples, answers.read_options(model, items, Count(), meter), strict=True):
        assert {context for context, _ in sample["arguments"]} == {item.context}
        theirs = {option: float(resp[0][0]) for (_, option), resp in zip(sample["arguments"], sample["resps"], strict=True)}
        for option, nats in zip(item.options, read.nats, strict=True):
            if item.delimiter + option in theirs:
                gap = max(gap, abs(theirs[item.delimiter + option] - nats))
        assert set(theirs) <= {item.delimiter + option for option in item.options}
        for name, value in suite.grade(item, read, Means()).figures.items():
            figures.setdefault(name, []).append(value)
    assert gap <= 1e-3
    return {name: float(np.mean(values)) for name, values in figures.items()}, gap


def four_way() -> list[Any]:
    return [one for one in starter.load("multiple_choice") if len(one.choices) == 4]


def test_mmlu(folder, model, tmp_path):
    subject = "college_biology"
    dev, test = (shared(path) for path in mmlu.FILES)
    if dev and test:
        dev = [row for _, row in mmlu.questions(dev) if row["subject"] == subject]
        test = [row for _, row in mmlu.questions(test) if row["subject"] == subject][:ITEMS]
    else:
        made = [
            {"subject": subject, "question": one.question, "choices": list(one.choices), "answer": str(one.answer)}
            for one in four_way()
        ]
        dev, test = made[:5], made[5 : 5 + ITEMS]
    dev, test = ([{**row, "answer": int(row["answer"])} for row in rows] for rows in (dev, test))
    task = {
        "include": str(TASKS / "mmlu/default/_default_template_yaml"), "task": "local_mmlu", "num_fewshot": 5,
        "description": f"The following are multiple choice questions (with answers) about {subject.replace('_', ' ')}.\n\n",
    }  # fmt: skip
    samples, results = evaluated(task, {"dev": dev, "test": test}, folder, tmp_path)
    items = mmlu.items({mmlu.FILES[0]: dev, mmlu.FILES[1]: test}, 0, ROOM)
    figures, gap = theirs_and_ours(items, mmlu, model, samples)
    print(f"mmlu: n {len(items)}, largest gap {gap:.1e} nats, acc {figures['acc']:.4f}")
    assert figures["acc"] == pytest.approx(results["acc,none"], abs=1e-12) and len({row["acc"] for row in samples}) == 2


def test_truthfulqa(folder, model, tmp_path):
    rows = shared(truthfulqa.FILES[0])
    if not rows:
        rows = [
            {"Question": one.question, "Category": one.topic, "Best Answer": one.choices[one.answer],
             "Correct Answers": f"{one.choices[one.answer]}; I cannot say", "Incorrect Answers": "; ".join(set(one.choices) - {one.choices[one.answer]})}
            for one in four_way()
        ]  # fmt: skip
    rows = [{key: row[key] for key in ("Question", "Category", "Best Answer", "Correct Answers", "Incorrect Answers")} for row in rows]
    rows = rows[:ITEMS]
    items = truthfulqa.items({truthfulqa.FILES[0]: rows}, 0, ROOM)
    docs = []
    for row, item in zip(rows, items, strict=True):
        true, false = item.options[: len(item.right)], item.options[len(item.right) :]
        docs.append(
            {"question": row["Question"], "mc1_targets": {"choices": [true[0], *false], "labels": [1] + [0] * len(false)},
             "mc2_targets": {"choices": [*true, *false], "labels": [1] * len(true) + [0] * len(false)}}
        )  # fmt: skip
    for name, figure in (("truthfulqa_mc1", "mc1"), ("truthfulqa_mc2", "mc2")):
        task = {"include": str(TASKS / f"truthfulqa/{name}.yaml"), "task": f"local_{name}"}
        samples, results = evaluated(task, {"validation": docs}, folder, tmp_path)
        figures, gap = theirs_and_ours(items, truthfulqa, model, samples)
        print(f"{name}: n {len(items)}, largest gap {gap:.1e} nats, {figures[figure]:.4f}")
        tolerance = 1e-12 if figure == "mc1" else 1e-4  # mc2 is a sum of probabilities, no count
        stated = results["acc,none"]
        if np.isnan(stated):  # its exponentials of a random model's long answers are all 0; the same formula without underflow
            assert figure == "mc2"
            likely = [softmax([float(resp[0][0]) for resp in sample["resps"]]) for sample in samples]
            labels = [np.array(sample["doc"]["mc2_targets"]["labels"], bool) for sample in samples]
            stated = np.mean([p[right].sum() for p, right in zip(likely, labels, strict=True)])
        assert figures[figure] == pytest.approx(stated, abs=tolerance)


def test_hhh_and_every_normalisation(folder, model, tmp_path):
    rows = shared(hhh.FILES[0])
    if not rows:
        rows = [
            {"chosen": f"\n\nHuman: {one.prompt[-1].content}\n\nAssistant: {one.chosen}",
             "rejected": f"\n\nHuman: {one.prompt[-1].content}\n\nAssistant: {one.rejected}"}
            for one in starter.load("labelled_pairs")
        ]  # fmt: skip
    items = [item for item in hhh.items({hhh.FILES[0]: rows}, 0, ROOM) if len(item.context) + max(map(len, item.options)) < 2000]
    items = items[:ITEMS]
    docs = [{"context": one.context, "options": list(one.options), "gold": one.right[0]} for one in items]
    task = {
        "task": "local_hhh", "output_type": "multiple_choice", "test_split": "test", "doc_to_text": "{{context}}",
        "doc_to_choice": "{{options}}", "doc_to_target": "{{gold}}",
        "metric_list": [{"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm", "acc_bytes")],
    }  # fmt: skip
    samples, results = evaluated(task, {"test": docs}, folder, tmp_path)
    figures, gap = theirs_and_ours(items, hhh, model, samples)
    print(f"hhh: n {len(items)}, largest gap {gap:.1e} nats, {figures}")
    for name in ("acc", "acc_norm", "acc_bytes"):
        assert figures[name] == pytest.approx(results[f"{name},none"], abs=1e-12)
    assert figures["acc"] != figures["acc_norm"], "the test does not tell the normalisations apart"


def tallied(items, suite, model, samples) -> tuple[dict[str, float], list[Any]]:
    """Our scores over the items after `theirs_and_ours` has compared every log-likelihood, and the rows behind them."""

    class Count:
        tokens = 0

    _, gap = theirs_and_ours(items, suite, model, samples)
    print(f"{suite.__name__.split('.')[-1]}: n {len(items)}, largest gap {gap:.1e} nats")
    meter = answers._Meter(lambda by: None, len(items), 0)
    rows = []
    for item, (read, _) in zip(items, answers.read_options(model, items, Count(), meter), strict=True):
        rows.append({"id": item.id, "tags": dict(item.tags), "chance": {}, **suite.grade(item, read, Means()).facts})
    return {name: score.figure(rows, name).figure.value for name, score in suite.SCORES.items() if score.having(rows)}, rows


def bbq_rows() -> list[dict[str, Any]]:
    """Rows of the public data; without it, rows of the same form."""
    found = shared("bbq/Age.jsonl.gz")
    if found:
        return [row for row in found if int(row["example_id"]) // 4 % 60 == 0]
    rows = []
    for number in range(12):
        for i, (polarity, condition) in enumerate((p, c) for p in ("neg", "nonneg") for c in ("ambig", "disambig")):
            text = f"I saw a grandson and a grandfather at shop {number}." + (" The grandfather was lost." if condition == "disambig" else "")
            label = 2 if condition == "ambig" else int(polarity == "nonneg")
            rows.append(
                {"example_id": 4 * number + i, "question_index": str(number), "question_polarity": polarity, "context_condition": condition,
                 "category": "Age", "label": label, "context": text, "question": "Who was lost?" if polarity == "neg" else "Who was not lost?",
                 "answer_info": {"ans0": ["grandfather", "old"], "ans1": ["grandson", "nonOld"], "ans2": ["Not known", "unknown"]},
                 "additional_metadata": {"stereotyped_groups": ["old"]}, "ans0": "The grandfather", "ans1": "The grandson", "ans2": "Not known"}
            )  # fmt: skip
    return rows


def test_bbq(folder, model, tmp_path):
    rows = bbq_rows()
    items = bbq.items({path: rows if "Age" in path else [] for path in bbq.FILES}, 0, ROOM)
    samples, results = evaluated({"include": str(TASKS / "bbq/bbq_multiple_choice.yaml"), "task": "local_bbq"}, {"test": rows}, folder, tmp_path)
    found, graded = tallied(items, bbq, model, samples)
    assert [row["tallies"]["acc"] for row in graded] == [one["acc"] for one in samples]
    pairs = (("acc", "acc"), ("acc_amb", "accuracy_amb"), ("acc_dis", "accuracy_disamb"), ("s_amb", "amb_bias_score"), ("s_dis", "disamb_bias_score"))
    for ours, theirs in pairs:
        assert found[ours] == pytest.approx(results[f"{theirs},none"], abs=1e-12), ours


def test_bbq_scores_of_planted_answers():
    """A random model says unknown; here its likelihoods are planted, and lm-eval's own functions grade and count them."""
    from datasets import Dataset

    theirs = runpy.run_path(str(TASKS / "bbq/utils.py"))
    rows = bbq_rows()
    items = bbq.items({path: rows if "Age" in path else [] for path in bbq.FILES}, 0, ROOM)
    generator, graded, counted = np.random.default_rng(5), [], []
    for item, doc in zip(items, theirs["process_docs"](Dataset.from_list(rows)), strict=True):
        assert list(item.options) == theirs["doc_to_choice"](doc)
        nats = generator.normal(0, 1, len(item.options))
        nats[:2] += 1.5
        nats[int(item.tags["biased"])] += 0.5
        graded.append({"id": item.id, "tags": item.tags, **bbq.grade(item, Read(tuple(nats), (1,) * 12), Means()).facts})
        counted.append(theirs["process_results_multiple_choice"](doc, [(float(x), False) for x in nats]))
    found = {name: score.figure(graded, name).figure.value for name, score in bbq.SCORES.items()}
    for ours, name, total in (("s_amb", "amb_bias_score", "agg_amb_bias_scores"), ("s_dis", "disamb_bias_score", "agg_disamb_bias_scores"),
                              ("acc_amb", "accuracy_amb", "agg_accuracy_amb"), ("acc_dis", "accuracy_disamb", "agg_accuracy_disamb")):  # fmt: skip
        assert found[ours] == pytest.approx(float(theirs[total]([one[name] for one in counted])), abs=1e-12), ours
    assert found["acc"] == pytest.approx(np.mean([one["acc"] for one in counted])) and 0 < found["s_amb"] < 1 and found["s_dis"] != 0


def test_crows_pairs(folder, model, tmp_path):
    rows = shared(crows_pairs.FILES[0])
    if not rows:
        words = [one.question for one in starter.load("multiple_choice")]
        rows = [{"sent_more": f"He said: {one}", "sent_less": f"She said: {one}", "stereo_antistereo": "stereo", "bias_type": "gender", "anon_writer": "a"}
                for one in words]  # fmt: skip
    rows = [{key: row[key] for key in ("sent_more", "sent_less", "stereo_antistereo", "bias_type", "anon_writer")} for row in rows[: 2 * ITEMS]]
    items = crows_pairs.items({crows_pairs.FILES[0]: rows}, 0, ROOM)
    task = {"include": str(TASKS / "crows_pairs/crows_pairs_english.yaml"), "task": "local_crows"}
    samples, results = evaluated(task, {"test": rows}, folder, tmp_path)
    found, graded = tallied(items, crows_pairs, model, samples)
    assert [row["tallies"]["stereotype"] for row in graded] == [one["pct_stereotype"] for one in samples]
    assert found["stereotype"] == pytest.approx(results["pct_stereotype,none"], abs=1e-12) and 0 < found["stereotype"] < 1


def test_winogender(folder, model, tmp_path):
    from solon.stages.benchmark import contents

    root = os.environ.get("SOLON_DATA")
    if root and (Path(root) / winogender.FILES[0]).is_file():
        data = {path: contents(path) for path in winogender.FILES}
    else:
        lines = [f"{job}.client.{owner}.{gender}.txt\tThe {job} told the client that {word} could pay." for job in ("nurse", "baker", "cook", "clerk")
                 for owner in (0, 1) for gender, word in (("male", "he"), ("female", "she"), ("neutral", "they"))]  # fmt: skip
        stats = "\n".join(f"{job}\t1\t{share}" for job, share in (("nurse", 90), ("baker", 50), ("cook", 40), ("clerk", 70)))
        data = {winogender.FILES[0]: "\n".join(["sentid\tsentence", *lines]), winogender.FILES[1]: "occupation\tbergsma\tbls_pct_female\n" + stats}
    items = winogender.items(data, 0, ROOM)[: 3 * ITEMS]
    docs = [
        {"sentence": item.context.split(" ‘")[0], "pronoun": item.tags["pronoun"], "occupation": item.options[0], "participant": item.options[1],
         "label": item.right[0], "gender": item.tags["gender"]}
        for item in items
    ]  # fmt: skip
    samples, results = evaluated({"include": str(TASKS / "winogender/winogender.yaml"), "task": "local_winogender"}, {"test": docs}, folder, tmp_path)
    found, graded = tallied(items, winogender, model, samples)
    assert [row["tallies"]["acc"] for row in graded] == [one["acc"] for one in samples] and len({one["acc"] for one in samples}) == 2
    assert found["acc"] == pytest.approx(results["acc,none"], abs=1e-12)


class Parrot(LM):
    """A stand-in that gives the reply that belongs to each prompt and remembers what it was asked."""

    def __init__(self, replies: dict[str, str]):
        super().__init__()
        self.replies, self.prompts = replies, []

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        self.prompts += [request.args[0] for request in requests]
        self.until = requests[0].args[1]["until"]
        return [next(reply for end, reply in self.replies.items() if request.args[0].endswith(end)) for request in requests]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> Any:
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood


REPLIES = (
    "It is 6 * 7.\n#### {n}", "#### {n}.", "So {n} it is", "{n}", "The answer is ${n}.00", "#### ${n}", "#### -{n}\n#### {n}", "1,{n}", "",
    "none", "#### {n},000", "{n}\n#### 3", "x {n}.", "<<1+1=2>> #### {n} apples",
)  # fmt: skip


def test_gsm8k_grades(tmp_path):
    rows = [{"question": f"Q number {i}?", "answer": f"Step <<1=1>>\n#### {n}"} for i, n in enumerate(["42", "1,042", "7"] * len(REPLIES))]
    replies = [REPLIES[i // 3].format(n=row["answer"].split("#### ")[1]) for i, row in enumerate(rows)]
    parrot = Parrot({gsm8k.question(row): reply for row, reply in zip(rows, replies, strict=True)})
    task = {"include": str(TASKS / "gsm8k/gsm8k.yaml"), "task": "local_gsm8k", "num_fewshot": 0}
    samples, results = evaluated(task, {"train": rows[:2], "test": rows}, parrot, tmp_path)
    assert parrot.prompts == [gsm8k.question(row) for row in rows] and set(parrot.until) == set(gsm8k.STOP)
    ours: dict[str, list[float]] = {"strict": [], "flexible": []}
    for row, reply in zip(rows, replies, strict=True):
        for name, value in gsm8k.grade(Ask("x", "", row["answer"]), Said(((reply,),)), Means()).figures.items():
            ours[name].append(value)
    for name, theirs in (("strict", "strict-match"), ("flexible", "flexible-extract")):
        wanted = [one["exact_match"] for one in samples if one["filter"] == theirs]
        assert ours[name] == wanted, name
        assert 0 < np.mean(ours[name]) < 1 and np.mean(ours[name]) == pytest.approx(results[f"exact_match,{theirs}"])


def test_bbh_prompts_and_grades(tmp_path):
    """The prompts of the authors' files are those that lm-eval writes; needs the public data."""
    root = os.environ.get("SOLON_DATA")
    if not root or not (Path(root) / "bigbench_hard").is_dir():
        pytest.skip("SOLON_DATA holds no bigbench_hard")
    from solon.stages.benchmark import contents

    items = bbh.items({path: contents(path) for path in bbh.FILES}, 0, ROOM)
    said = ("So the answer is {t}.", "So the answer is {t}", "the answer is {t}.\nthe answer is no.", "{t}", "So the answer is {t}. ")
    for name in ("boolean_expressions", "navigate", "object_counting", "date_understanding"):
        part = [item for item in items if item.tags["task"] == name][:10]
        replies = [said[i % len(said)].format(t=item.reference) for i, item in enumerate(part)]
        parrot = Parrot({item.prompt[-120:]: reply for item, reply in zip(part, replies, strict=True)})
        docs = [{"input": item.prompt.rsplit("\n\nQ: ", 1)[1].removesuffix("\nA: Let's think step by step.\n"), "target": item.reference} for item in part]
        task = {"include": str(TASKS / f"bbh/cot_fewshot/{name}.yaml"), "task": f"local_{name}"}
        samples, _ = evaluated(task, {"test": docs}, parrot, tmp_path)
        assert parrot.prompts == [item.prompt for item in part], name
        assert set(part[0].stop) == set(parrot.until)
        ours = [bbh.grade(item, Said(((reply,),)), Means()).figures["exact"] for item, reply in zip(part, replies, strict=True)]
        assert ours == [one["exact_match"] for one in samples] and 0 < np.mean(ours) < 1


@pytest.fixture(scope="module")
def reference():
    """lm-eval's IFEval. Its sentence splitter's data cannot be had offline: Punkt without them stands in, which differs
    only behind abbreviations."""
    pytest.importorskip("langdetect")
    import langdetect
    import nltk
    from nltk.tokenize.punkt import PunktSentenceTokenizer

    langdetect.DetectorFactory.seed = 0
    nltk.download = lambda *args, **more: True
    import nltk.tokenize
    from lm_eval.tasks.ifeval import instructions_registry, instructions_util

    plain = PunktSentenceTokenizer()
    instructions_util._get_sentence_tokenizer = lambda: plain
    nltk.tokenize.sent_tokenize = lambda text, language="english": plain.tokenize(text)
    return instructions_registry.INSTRUCTION_DICT


TEXTS = (
    "", "  ", "yes", "My answer is no.", "BIG WORDS HERE. AND THERE ARE SOME MORE OF THEM FOR THE TEST.",
    "this is a small reply in lowercase letters and it goes on for a while.", '"All of it is quoted. Is it?"', "one\n\ntwo\n\nthree",
    "* a\n* b\n- c\n** d **", "P.S. I like it", "x\np. p. s. more", "*one* **two** ** ** *three four*", "a ****** b", "a******a", "a***b",
    "***\na\n***\nb\n***", '{"a": 1}', "```json\n[1, 2]\n```", "<<A title>> text [name] [address]", "SECTION 1\na\nSECTION 2\nb", "Is there anything else I can help with?",
    "The story of the war: war, war and peace! Was it long? It was. It was very long; nobody knows how long.", "Der Hund und die Katze sind nicht im Haus, weil es ein Fest ist.",
    "C'est une phrase en français, avec des mots qui sont dans la langue.", "यह हिन्दी में एक वाक्य है और यह बहुत छोटा नहीं है।", "هذه جملة باللغة العربية وهي ليست طويلة جدا.",
    "Write a blog post. Here it is: " + "word " * 310,
)  # fmt: skip


def test_ifeval_equals_the_reference(reference):
    """Each check of each row on many replies. Languages are told apart by other means, so those checks are counted apart,
    on texts of eight different words or more."""
    from solon.evals.ifeval.checks import CHECKS, follows, follows_loosely

    rows = shared("ifeval/input_data_dev.jsonl.gz") or []
    cases = runpy.run_path(str(Path(__file__).with_name("test_ifeval.py")))["CASES"]
    asked = [(kind, given) for row in rows for kind, given in zip(row["instruction_id_list"], row["kwargs"], strict=True)]
    asked += [(kind, given) for kind, given, _, _ in cases]
    extra = [text for _, _, good, bad in cases for text in good + bad]
    assert set(reference) == set(CHECKS) == {kind for kind, _ in asked}
    unequal, compared, other = [], 0, [0, 0]
    for kind, given in asked:
        if kind == "keywords:letter_frequency" and not given["letter"].isalpha():
            continue  # the reference draws another letter at random
        checker = reference[kind](kind)
        checker.build_description(**given)
        for text in (*TEXTS, *extra):
            theirs = bool(text.strip()) and bool(checker.check_following(text))
            ours = follows(text, kind, given)
            if kind in ("language:response_language", "change_case:english_capital", "change_case:english_lowercase"):
                if len(set(re.findall(r"\w{2,}", text.lower()))) < 8:
                    continue  # on fragments the reference guesses: it takes "yes" for Turkish and "war" for Somali
                other = [other[0] + (ours == theirs), other[1] + 1]
                continue
            compared += 1
            if ours != theirs and not (kind.endswith(("number_sentences", "capital_word_frequency")) and re.search(r"\w\.\w|\b(Dr|Mr|[ap]\.m)\.", text)):
                unequal.append((kind, given, text))
            assert follows_loosely(text, kind, given) >= ours
    print(f"ifeval: {compared} checks equal but {len(unequal)}; language checks equal {other[0]} of {other[1]}")
    assert not unequal and compared > 1000
    assert other[0] / other[1] > 0.97
