"""TRL and PEFT's side: `python peer_trl.py sft|dpo|grpo|first TASK.json`. bfloat16, LoRA of rank 16 on the seven linears."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from turns import Turns

os.environ["TQDM_DISABLE"] = "1"
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer, GRPOConfig, GRPOTrainer, SFTConfig, SFTTrainer

LINEARS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def main(row: str, task: dict[str, Any], turns: Turns) -> None:
    torch.set_num_threads(os.cpu_count() or 1)
    rounds = 0 if row == "first" else task["rounds"]
    data, sizes = json.loads(Path(task["data"]).read_text()), task["sizes"]

    class Steps(TrainerCallback):
        def on_step_begin(self, *given: Any, **more: Any) -> None:
            turns.take()

        def on_step_end(self, *given: Any, **more: Any) -> None:
            turns.give()

    model = AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.bfloat16)
    tokenizer = AutoTokenizer.from_pretrained(task["model"])
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    shared = {
        "output_dir": tempfile.mkdtemp(), "max_length": sizes["length"], "max_steps": rounds + 1, "logging_steps": 1, "save_strategy": "no",
        "gradient_checkpointing": task["checkpointing"].get(row, task["checkpointing"]["sft"]), "report_to": "none", "use_cpu": True, "bf16": False,
        "fp16": False, "disable_tqdm": True, "dataloader_pin_memory": False, "lr_scheduler_type": "constant",
    }  # fmt: skip
    common = {
        "model": model, "processing_class": tokenizer, "callbacks": [Steps()],
        "peft_config": LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules=LINEARS),
    }  # fmt: skip
    if row == "dpo":
        trainer = preferences(data, sizes, shared, common, tokenizer)
    elif row == "grpo":
        trainer = groups(data, sizes, shared, common)
    else:
        rows = Dataset.from_list([{"input_ids": ids} for ids in data["rows"]])
        config = SFTConfig(**shared, per_device_train_batch_size=sizes["rows"], learning_rate=1e-4, packing=False)
        trainer = SFTTrainer(args=config, train_dataset=rows, **common)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    trainable = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    turns.end(losses=losses, trainable=trainable, dtype=str(next(trainer.model.parameters()).dtype))


def preferences(data: Any, sizes: Any, shared: Any, common: Any, tokenizer: Any) -> DPOTrainer:
    """TRL wants texts: the tokens decoded, the answers long enough that each side is cut at exactly the length."""
    text = lambda ids: tokenizer.decode(ids, skip_special_tokens=True)  # noqa: E731
    rows = [
        {"prompt": text(pair["prompt"]), "chosen": 2 * text(pair["answers"][0]), "rejected": 2 * text(pair["answers"][1])}
        for pair in data["pairs"]
    ]
    config = DPOConfig(**shared, per_device_train_batch_size=sizes["pairs"], learning_rate=1e-5, beta=0.1)
    return DPOTrainer(args=config, train_dataset=Dataset.from_list(rows), **common)


def groups(data: Any, sizes: Any, shared: Any, common: Any) -> GRPOTrainer:
    """Answers of exactly the length: no end mark may be drawn before it. The reward is Solon's."""

    def vowels(completions: list[str], completion_ids: list[list[int]], **more: Any) -> list[float]:
        assert {len(ids) for ids in completion_ids} == {sizes["rollout"]}
        return [sum(one in "aeiou" for one in text) / (1 + len(text)) for text in completions]

    count = sizes["asked"] * sizes["group"]
    settings = {name: value for name, value in shared.items() if name != "max_length"}
    config = GRPOConfig(
        **settings, per_device_train_batch_size=count, num_generations=sizes["group"], max_completion_length=sizes["rollout"], beta=0.0,
        learning_rate=1e-5, generation_kwargs={"min_new_tokens": sizes["rollout"]},
    )  # fmt: skip
    rows = Dataset.from_list([{"prompt": text} for text in data["asked"]])
    return GRPOTrainer(args=config, train_dataset=rows, reward_funcs=vowels, **common)


if __name__ == "__main__":
    main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Turns())
