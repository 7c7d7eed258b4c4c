"""The prompts and conversations behind the goldens of `real_models.py`. Written for this project."""

SMOLLM2_CHATS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "user", "content": "Write a short poem about a lighthouse in winter."}],
    [{"role": "system", "content": "You answer in one sentence."}, {"role": "user", "content": "Why is the sky blue?"}],
    [{"role": "user", "content": "List three uses of baking soda."}],
    [{"role": "user", "content": "Translate 'good morning' into Spanish and German."}],
    [
        {"role": "user", "content": "My parcel has not arrived."},
        {"role": "assistant", "content": "I am sorry to hear that. When did you order it?"},
        {"role": "user", "content": "Twelve days ago, order 40417."},
    ],
    [{"role": "user", "content": "What is 17 + 28? Explain each step."}],
    [{"role": "user", "content": "Explain recursion to a ten-year-old 😀"}],
    [{"role": "system", "content": ""}, {"role": "user", "content": "Write a Python function that reverses a list."}],
    [{"role": "user", "content": "Summarise: The mill by the river closed in 1931. Its wheel was sold, its roof fell in, and in 1974 the village bought the ruin and made a library of it."}],
]

SMOLLM2_RAW = [
    "The quick brown fox",
    "Once upon a time, in a village at the edge of a forest,",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
    "Water boils at 100 degrees Celsius, which is",
    "{\"name\": \"Alice\", \"age\": 31, \"languages\": [",
    "The three largest planets of the solar system are",
    "Q: How many legs does a spider have?\nA:",
    "北京是",
    "SELECT name, COUNT(*) FROM orders WHERE",
    "In 1969, two people walked on the Moon. Their names were",
]

GEMMA3_RAW = [
    "The capital of Japan is",
    "Once upon a time, in a village at the edge of a forest,",
    "def quicksort(items):\n    \"\"\"Sort a list.\"\"\"\n",
    "The three states of matter are",
    "Q: Who wrote Hamlet?\nA: William Shakespeare\nQ: Who painted the Mona Lisa?\nA:",
    "La tour Eiffel se trouve à",
    "Die Hauptstadt von Österreich ist",
    "{\"city\": \"Oslo\", \"country\": \"Norway\"}\n{\"city\": \"Lima\", \"country\":",
    "1, 1, 2, 3, 5, 8,",
    "To make a good cup of tea, first",
    "中国的首都是",
    "从前有一座山，山上有一座庙，",
    "春天来了，花儿",
    "问：水的化学式是什么？\n答：水的化学式是H2O。\n问：太阳系最大的行星是什么？\n答：",
    "学习一门新的语言需要",
    "床前明月光，",
    "人工智能可以帮助医生",
    "今天的天气很好，我们决定😀",
    "日本の首都は",
]


def gemma3_long():
    """Longer than the sliding window of 512 tokens, so that the local layers forget its beginning."""
    words = ["red", "blue", "green", "white", "black", "yellow", "brown"]
    return "".join(f"Box {i} is {words[i * i % 7]} and holds {i * 37 % 101} coins.\n" for i in range(1, 61)) + "Box 61 is"


TRAINING_CHATS = [
    [
        {"role": "user", "content": "How do I reset the kettle?"},
        {"role": "assistant", "content": "Hold the lid button for five seconds until the light blinks twice."},
    ],
    [
        {"role": "system", "content": "You sort questions. Answer with one word."},
        {"role": "user", "content": "I was charged twice this month."},
        {"role": "assistant", "content": "billing"},
    ],
    [
        {"role": "user", "content": "Is the cup safe in the dishwasher?"},
        {"role": "assistant", "content": "Yes, on the top shelf."},
        {"role": "user", "content": "And the lid?"},
        {"role": "assistant", "content": "No. Wash the lid by hand, because heat bends its seal."},
    ],
    [
        {"role": "user", "content": "Name the months with thirty days."},
        {"role": "assistant", "content": "April, June, September and November."},
    ],
    [
        {"role": "system", "content": "You are the desk of a small library."},
        {"role": "user", "content": "May I keep a book for six weeks?"},
        {"role": "assistant", "content": "You may keep it for four weeks and renew it once for two more."},
    ],
    [
        {"role": "user", "content": "2 + 3 * 4 = ?"},
        {"role": "assistant", "content": "14"},
    ],
    [
        {"role": "user", "content": "Say 'thank you' in Chinese."},
        {"role": "assistant", "content": "谢谢"},
        {"role": "user", "content": "And 'please'?"},
        {"role": "assistant", "content": "请"},
    ],
    [
        {"role": "user", "content": "Write a line of Rust that prints the numbers one to three."},
        {"role": "assistant", "content": "for n in 1..=3 { println!(\"{n}\"); }"},
    ],
]
