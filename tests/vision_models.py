"""Tiny random vision models, saved as transformers saves any; and tiny films of plain colours."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from emsync.affect_clip import TEMPLATES, WORDS
from emsync.affect_vlm import INSTRUCTION
from emsync.vision import quietly

Colour = tuple[int, int, int]
BLACK, RED, GREEN, BLUE, WHITE = (0, 0, 0), (220, 30, 20), (20, 200, 40), (20, 40, 210), (255, 255, 255)

#: Content is a list of {"type": "text"} and {"type": "image"}, as every chat template of today takes it.
CHAT = (
    "{% for m in messages %}<bos>{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}<image>{% else %} {{ c['text'] }} {% endif %}{% endfor %}<eos>{% endfor %}"
)


def film(path: Path, seconds: Sequence[Colour], *, rate: int = 4, last_s: float = 1.0, size: int = 48) -> Path:
    """A film with a colour a second and a gradient across it; the last second may be cut short. Lossless."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=rate)
        stream.width, stream.height, stream.pix_fmt = 2 * size, size, "bgr0"
        stream.codec_context.time_base = Fraction(1, rate)
        shade = np.linspace(0.6, 1.0, 2 * size)[None, :, None]
        number = 0
        for i, colour in enumerate(seconds):
            length_s = last_s if i == len(seconds) - 1 else 1.0
            for _ in range(max(1, round(length_s * rate))):
                pixels = np.broadcast_to(shade * np.array(colour), (size, 2 * size, 3)).astype(np.uint8)
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, rate)
                container.mux(stream.encode(frame))
                number += 1
        container.mux(stream.encode(None))
    return path


def tokenizer(special: Sequence[str], text: str) -> tuple[Any, int]:
    """A tokenizer of the words in `text` and every digit; and how many tokens it has."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    split = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)])
    words = sorted({word for word, _ in split.pre_tokenize_str(text)} | set("0123456789"))
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "<bos>", "<eos>", *special, *words])}
    tokens = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokens.pre_tokenizer = split
    tokens.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 2), ("<eos>", 3)]
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=tokens,
        pad_token="<pad>",
        unk_token="<unk>",
        bos_token="<bos>",
        eos_token="<eos>",
        additional_special_tokens=list(special),
    )
    return made, len(vocabulary)


def _save(folder: Path, model: Any, processor: Any) -> Path:
    with quietly():
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder


def _square_pictures() -> Any:
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def tiny_clip(folder: Path, *, size: int = 16) -> Path:
    """A CLIP of some thousand weights."""
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPProcessor

    words, n = tokenizer((), " ".join(t.format(w) for t in TEMPLATES for six in WORDS.values() for w in six))
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0}
    config = CLIPConfig(
        text_config={**shape, **special, "vocab_size": n, "max_position_embeddings": 32},
        vision_config={**shape, "image_size": 32, "patch_size": 16},
        projection_dim=size,
    )
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return _save(folder, CLIPModel(config), CLIPProcessor(_square_pictures(), words))


def _language(n: int, longest: int) -> dict[str, Any]:
    return {
        "vocab_size": n,
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": longest,
        "pad_token_id": 0,
        "bos_token_id": 2,
        "eos_token_id": 3,
    }


def tiny_llava(folder: Path, *, longest: int = 512, chat: bool = True) -> Path:
    """An image-text model with four tokens a picture in one run."""
    import torch
    from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, LlavaProcessor

    words, n = tokenizer(("<image>",), INSTRUCTION + " Time: s")
    sight = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=32,
        patch_size=16,
    )
    config = LlavaConfig(
        vision_config=sight, text_config=LlamaConfig(**_language(n, longest)), image_token_id=4, vision_feature_layer=-1
    )
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        processor = LlavaProcessor(
            _square_pictures(),
            words,
            patch_size=16,
            vision_feature_select_strategy="default",
            num_additional_image_tokens=1,
            chat_template=CHAT if chat else None,
        )
        return _save(folder, LlavaForConditionalGeneration(config), processor)


def tiny_idefics(folder: Path) -> Path:
    """An image-text model that would look at close-ups of a picture too, and puts tokens of its own around each."""
    import torch
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration, Idefics3Processor, LlamaConfig
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tiles = [f"<row_{i + 1}_col_{j + 1}>" for i in range(6) for j in range(6)]
    special = ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *tiles]
    words, n = tokenizer(special, INSTRUCTION + " Time: s")
    config = Idefics3Config(
        vision_config={
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        text_config=LlamaConfig(**_language(n, 2048)),
        image_token_id=4,
        scale_factor=2,
        pad_token_id=0,
    )
    images = Idefics3ImageProcessorPil(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        processor = Idefics3Processor(images, words, image_seq_len=4, chat_template=CHAT)
        return _save(folder, Idefics3ForConditionalGeneration(config), processor)


def tiny_words(folder: Path) -> Path:
    """A classifier of sentiment: a BERT of some thousand weights."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    words, n = tokenizer((), "i am so happy today this is sad and dark")
    config = BertConfig(
        vocab_size=n, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        max_position_embeddings=64, pad_token_id=0,
    )  # fmt: skip
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return _save(folder, BertForSequenceClassification(config), words)


def tiny_sounds(folder: Path, *, ctc: bool = False) -> Path:
    """A classifier of sounds at 8 kHz, or a recogniser of speech in a few letters: a tiny wav2vec."""
    import json

    import torch
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2ForSequenceClassification,
        Wav2Vec2Processor,
    )  # fmt: skip

    config = Wav2Vec2Config(
        vocab_size=8, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16,
        conv_dim=(8, 8), conv_stride=(20, 20), conv_kernel=(20, 20), num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2, num_feat_extract_layers=2, classifier_proj_size=8, pad_token_id=0,
    )  # fmt: skip
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=8000)
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        if not ctc:
            return _save(folder, Wav2Vec2ForSequenceClassification(config), extractor)
        folder.mkdir(parents=True)
        letters = {"<pad>": 0, "|": 1, "<unk>": 2, "<s>": 3, "</s>": 4, "A": 5, "B": 6, "C": 7}
        (folder / "vocab.json").write_text(json.dumps(letters))
        return _save(
            folder, Wav2Vec2ForCTC(config), Wav2Vec2Processor(extractor, Wav2Vec2CTCTokenizer(folder / "vocab.json"))
        )


def tiny_faces(folder: Path) -> Path:
    """A classifier of expressions: a ViT of some thousand weights."""
    import torch
    from transformers import ViTConfig, ViTForImageClassification
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    config = ViTConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8
    )
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        made = ViTForImageClassification(config), ViTImageProcessorPil(size={"height": 16, "width": 16})
        return _save(folder, *made)


def tiny_detector(folder: Path, name: str = "face") -> Path:
    """A detector with one class that finds it everywhere, in a box somewhere: a YOLOS of some thousand weights."""
    import torch
    from transformers import YolosConfig, YolosForObjectDetection
    from transformers.models.yolos.image_processing_pil_yolos import YolosImageProcessorPil

    config = YolosConfig(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=[32, 32],
        patch_size=16, num_detection_tokens=2, id2label={0: name, 1: "car"}, label2id={name: 0, "car": 1},
        use_mid_position_embeddings=False,
    )  # fmt: skip
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        network = YolosForObjectDetection(config)
        last = network.class_labels_classifier.layers[-1]
        torch.nn.init.zeros_(last.weight)
        last.bias.data = torch.tensor([9.0, 0.0, 0.0])
        return _save(folder, network, YolosImageProcessorPil(size={"shortest_edge": 32, "longest_edge": 64}))
