"""Top up: candidates besides, until enough is kept of each prompt or label (`generate.per_prompt`, `generate.shares`). Private.

Looks at what the filter will keep, and makes blocks of candidates of the prompts that are short, as often as it takes and as
far as `generate.most` allows. Blocks that are there are not made again: another threshold costs only those that it lacks.
"""

from collections import Counter
from pathlib import Path

import numpy as np

from pd.dataset.real import real_words
from pd.engine.stream.shards import Shard, plan
from pd.filters.apply import kept_of
from pd.filters.captions import prompts_of
from pd.filters.prompts import Prompts
from pd.filters.top_up import ROUNDS, BlockPrompts, Wanted, counted, within
from pd.stages.base import Facts
from pd.stages.filter import decided_by
from pd.stages.generate import sample
from pd.store.atomic import write_json
from pd.store.context import Context
from pd.store.run import Run


def execute(context: Context) -> Facts:
    run, settings, how = context.run, context.settings, context.settings.generate
    prompts = prompts_of(real_words(run, settings), settings)
    wanted = Wanted(how.per_prompt or 0, how.shares)
    wanted.check(prompts)
    filters, thresholds, _ = decided_by(context)
    base = plan(how.candidates, how.shard_size, how.batch)
    blocks = BlockPrompts.after(prompts, -(-how.candidates // how.batch) * how.batch, how.batch)
    used, sides, made = Counter[int](), dict[str, float](), 0
    run.topped_up.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(ROUNDS + 1)):  # the last looks only at what is kept
        shards = shards_of(blocks, used, len(base))
        texts, keep = kept_of(files_of(run, shards), thresholds, filters, prompts.texts)
        kept, asked = counted(prompts, texts, keep), counted(prompts, texts, np.ones(len(texts), dtype=bool))
        sides = sides or wanted.sides(prompts, kept)
        more = wanted.blocks(prompts, kept, asked, sides, how.batch)
        room = (how.at_most - how.candidates) // how.batch - sum(used.values())
        given = within(more, max(room, 0))
        if not left or not given.any():
            break
        used.update({prompt: int(count) for prompt, count in enumerate(given)})
        made += _make(context, blocks, shards_of(blocks, used, len(base)))
    short = [text for text, count in zip(prompts.texts, more, strict=True) if count]
    if short:
        context.reporter.say(
            f"  {len(short)} of {len(prompts.texts)} prompts are still short after {sum(used.values()) * how.batch:,} more "
            "candidates: raise generate.most, or ask for less"
        )
    elif off := wanted.off(prompts, kept):
        context.reporter.say(f"  of what is kept, shares differ from generate.shares: {'; '.join(off)}")
    write_json(run.topped_up / "used.json", [shard.name for shard in shards_of(blocks, used, len(base))])
    return {"topped_up": sum(used.values()) * how.batch, "made": made, "kept": int(keep.sum()), "prompts_short": len(short)}


def shards_of(blocks: BlockPrompts, used: Counter[int], before: int) -> list[Shard]:
    """A shard for each block in use, in the order of ids; `before`: shards of the candidates themselves."""
    found = []
    for prompt, count in used.items():
        for number in range(count):
            ids = blocks.block_of(prompt, number)
            found.append(Shard(before + number * len(blocks.texts) + prompt, ids.start, ids.stop))
    return sorted(found, key=lambda shard: shard.index)


def files_of(run: Run, shards: list[Shard]) -> list[Path]:
    """The candidates, and those made besides that are in use, in the order of ids."""
    return [*sorted(run.generated.glob("*.parquet")), *(run.topped_up / f"{shard.name}.parquet" for shard in shards)]


def _make(context: Context, prompts: Prompts, shards: list[Shard]) -> int:
    """Make those that are not there; how many candidates."""
    return int(sample(context, prompts, context.run.topped_up, "more candidates", besides=shards)["made"])
