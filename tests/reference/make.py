"""Makes `texts.json` and `vectors.f32`: what all-MiniLM-L6-v2 answers when torch runs it.

    python make.py MODEL_DIR

MODEL_DIR is a directory with config.json, tokenizer.json and model.safetensors (`cargo xtask
model` puts one in place). Needs torch, transformers and numpy. Every text is written by hand below
or generated from a fixed seed, so the files carry no foreign text.

The vectors are rows of 384 little-endian f32, one per text, in the order of `texts.json`:
truncation to 256 tokens, f32 on the CPU, mean of the last hidden states under the attention mask,
divided by the L2 norm. One text per forward, so that nothing is padded.
"""

import json
import pathlib
import random
import sys

import numpy
import torch
import transformers

HAND_WRITTEN = [
    "a",
    "Z",
    "7",
    ".",
    "?",
    "é",
    "中",
    "🦀",
    "ok",
    "no!",
    "Hello, world",
    "HELLO, WORLD",
    "hello , world",
    "  leading and trailing white space  ",
    "tabs\tand\nnew lines\r\nand  double  spaces",
    "The committer owns the tail of the log.",
    "Why did the second fsync return an error although the first one succeeded?",
    "Never retry a failed fsync: the kernel may already have dropped the dirty pages.",
    "If a snapshot is older than the horizon, answer it by scanning instead of by the graph.",
    "Agents should write down what they tried, what failed, and why it failed.",
    "naïve café déjà vu — Ångström, Øresund, Łódź, Straße, coöperate",
    "NAÏVE CAFÉ DÉJÀ VU — ÅNGSTRÖM, ØRESUND, ŁÓDŹ, STRASSE",
    "e\u0301 is two code points, é is one",
    "zero\u200bwidth\u200bspace, soft\u00adhyphen and a \ufeff mark",
    "控制字符、全角标点，以及没有空格的句子。",
    "数据库崩溃之后，日志从最后一个完整的提交恢复。",
    "日本語のテキストも埋め込みできます。カタカナとひらがなと漢字。",
    "한국어 문장도 벡터가 됩니다.",
    "Данные не теряются даже после отключения питания.",
    "Η βάση δεδομένων ανοίγει σε χιλιοστά του δευτερολέπτου.",
    "قاعدة البيانات تحفظ ما تعلمه الوكلاء",
    "זיכרון משותף לסוכנים",
    "हर लेखन पहले लॉग में जाता है",
    "ฐานข้อมูลนี้ไม่มีเซิร์ฟเวอร์",
    "🔥🔥🔥",
    "deploy went fine 🎉 but p99 doubled 😬, rolling back ⏪",
    "👩‍👩‍👧‍👦 family, 🇪🇺 flag, 👍🏽 thumb",
    "...",
    "!!!???!!!",
    "-----------------------------------------",
    "#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
    "[CLS] not a special token here? [SEP] [MASK] [PAD] [UNK]",
    "<script>alert('x')</script>",
    "SELECT id, content FROM experience WHERE importance > 0.5 ORDER BY time DESC LIMIT 20;",
    "fn main() { let x: Vec<_> = (0..10).filter(|n| n % 2 == 0).collect(); println!(\"{x:?}\"); }",
    "def f(xs):\n    return [x * x for x in xs if x > 0]\n",
    "#include <stdio.h>\nint main(void) { return printf(\"%d\\n\", 42) < 0; }",
    "for i in $(seq 1 10); do curl -s \"http://localhost:8080/health?i=$i\" || break; done",
    "{\"level\": \"error\", \"msg\": \"connection refused\", \"retry\": 3, \"tags\": [\"net\", null, true]}",
    "thread 'main' panicked at src/lib.rs:42:17:\ncalled `Option::unwrap()` on a `None` value",
    "0x7fffdeadbeef 0b1010_1010 1e-9 3.14159265358979 -273.15 1,000,000",
    "2031-02-29T25:61:61Z is not a date",
    "https://example.org/a/b/c?d=e&f=%20g#h",
    "user@example.org wrote to root@localhost",
    "/usr/local/lib/libfoo.so.1.2.3",
    "C:\\Program Files\\Thing\\thing.exe --flag=value",
    "snake_case camelCase PascalCase kebab-case SCREAMING_SNAKE_CASE",
    "Donaudampfschifffahrtsgesellschaftskapitänsmütze",
    "pneumonoultramicroscopicsilicovolcanoconiosis antidisestablishmentarianism",
    "x" * 99,
    "x" * 100,
    "x" * 101,
    "y" * 5000,
    "the the the the the the the the",
    "buffalo buffalo Buffalo buffalo buffalo buffalo Buffalo buffalo",
    "word " * 253,
    "word " * 254,
    "word " * 255,
    "word " * 256,
    "word " * 2000,
    "wahr " * 400,
    "中文" * 200,
    "🦀" * 300,
    "." * 254,
    "." * 300,
    "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 12,
    "ab\n" * 300,
    "One sentence that is long enough to be cut only when it comes many times over. " * 40,
]

SUBJECTS = """the committer|a reader|an idle worker|the planner|this test|the second node|a stale cursor|the index
our parser|the cache|every agent|the reviewer|a background thread|the build|the migration|an empty batch""".replace(
    "\n", "|"
).split("|")
VERBS = """drops|copies|waits for|rejects|publishes|forgets|re-reads|compresses|reorders|acknowledges|duplicates
repairs|measures|overwrites|retries|splits""".replace("\n", "|").split("|")
OBJECTS = """the last frame|a half-written page|forty small requests|the lock file|two identical keys|a broken checksum
the newest snapshot|its own mapping|an unbounded queue|the wrong timestamp|several hundred rows|a cold segment
the user's question|a UTF-8 boundary|the retry budget|one flaky assertion""".replace("\n", "|").split("|")
TAILS = """when memory runs out|after the power comes back|because nobody holds the lease|before the first await point
even though the clock went backwards|unless the flag is set|while a backup is running|on machines with one core
as soon as the channel closes|without telling anybody|in less than a millisecond|until the next release""".replace(
    "\n", "|"
).split("|")


def generated(count):
    rng = random.Random(20)
    sentence = lambda: " ".join(rng.choice(part) for part in (SUBJECTS, VERBS, OBJECTS, TAILS))
    for number in range(count):
        sentences = 1 + number * number // 900
        marks = [rng.choice([". ", "; ", ", and ", "! ", " - ", ".\n\n"]) for _ in range(sentences)]
        yield "".join(sentence() + mark for mark in marks).strip().capitalize()


def main(model_dir):
    texts = HAND_WRITTEN + list(generated(200 - len(HAND_WRITTEN)))
    assert len(texts) == 200
    torch.manual_seed(0)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_file=f"{model_dir}/tokenizer.json", model_max_length=256
    )
    tokenizer.backend_tokenizer.no_padding()
    model = transformers.BertModel.from_pretrained(
        model_dir, add_pooling_layer=False, dtype=torch.float32, attn_implementation="eager"
    )
    model.eval()
    rows, lengths = [], []
    with torch.inference_mode():
        for text in texts:
            tokens = tokenizer(text, truncation=True, max_length=256, return_tensors="pt")
            lengths.append(tokens["input_ids"].shape[1])
            hidden = model(
                input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]
            ).last_hidden_state[0]
            mean = hidden.mean(dim=0)
            rows.append((mean / mean.norm()).numpy())
    here = pathlib.Path(__file__).parent
    (here / "texts.json").write_text(json.dumps(texts, ensure_ascii=False, indent=0) + "\n")
    numpy.stack(rows).astype("<f4").tofile(here / "vectors.f32")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"{len(texts)} texts, {min(lengths)}..{max(lengths)} tokens, {lengths.count(256)} truncated or full")
    print(f"lengths: {sorted(lengths)}")


if __name__ == "__main__":
    main(sys.argv[1])
