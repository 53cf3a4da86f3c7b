"""Tiny random music models, saved as transformers and diffusers save any."""

from __future__ import annotations

import json
from pathlib import Path

from emsync.vision import quietly
from tests.vision_models import tokenizer

WORDS = "slow fast calm warm strings piano guitar bass drums music uneasy major minor a in of with and , ."
#: Codes a second, samples a second and the chroma of a tiny MusicGen: windows of 2.048 s, 51 codes.
RATE_HZ, HOP = 8000, 320
CHROMA_LENGTH = 16


def tiny_musicgen(folder: Path, *, stereo: bool = False, seed: int = 1) -> Path:
    """A MusicGen-melody of some thousand weights: 4 codebooks of 32 codes, 25 a second."""
    import torch
    from transformers import (
        EncodecConfig,
        MusicgenMelodyConfig,
        MusicgenMelodyDecoderConfig,
        MusicgenMelodyForConditionalGeneration,
        T5Config,
    )

    words, n = tokenizer((), WORDS)
    text = T5Config(
        vocab_size=n, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0, eos_token_id=3
    )
    codec = EncodecConfig(
        sampling_rate=RATE_HZ, audio_channels=1, hidden_size=16, num_filters=4, num_residual_layers=1,
        upsampling_ratios=[8, 8, 5], codebook_size=32, codebook_dim=16, target_bandwidths=[0.5], normalize=False,
        use_causal_conv=False, num_lstm_layers=1, chunk_length_s=None,
    )  # fmt: skip
    decoder = MusicgenMelodyDecoderConfig(
        vocab_size=32, hidden_size=24, num_hidden_layers=4, ffn_dim=32, num_attention_heads=2, dropout=0.0,
        num_codebooks=8 if stereo else 4, audio_channels=2 if stereo else 1, pad_token_id=32, bos_token_id=32,
    )  # fmt: skip
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = MusicgenMelodyConfig(
            text_encoder=text.to_dict(),
            audio_encoder=codec.to_dict(),
            decoder=decoder.to_dict(),
            chroma_length=CHROMA_LENGTH,
        )
        network = MusicgenMelodyForConditionalGeneration(config)
        for parameter in network.parameters():  # livelier than a fresh network, which says much the same of everything
            parameter.data += 0.2 * torch.randn(parameter.shape)
        for layer in network.audio_encoder.quantizer.layers:  # a fresh codebook has one entry, zero
            layer.codebook.embed.normal_()
        network.generation_config.decoder_start_token_id = 32
        network.generation_config.pad_token_id = 32
        network.generation_config.bos_token_id = 32
        network.save_pretrained(folder)
        words.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"sampling_rate": 32000, "hop_length": 4096}))
    return folder


def tiny_ace_step(folder: Path) -> Path:
    """An ACE-Step pipeline of some thousand weights: stereo at 8 kHz, 25 latents a second."""
    import torch
    from diffusers import AceStepPipeline, AutoencoderOobleck, FlowMatchEulerDiscreteScheduler
    from diffusers.models.transformers.ace_step_transformer import AceStepTransformer1DModel
    from diffusers.pipelines.ace_step.modeling_ace_step import (
        AceStepAudioTokenDetokenizer,
        AceStepAudioTokenizer,
        AceStepConditionEncoder,
    )
    from transformers import Qwen3Config, Qwen3Model

    width, latents = 16, 8
    shape = {
        "hidden_size": width, "intermediate_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1,
        "head_dim": 8, "sliding_window": 16,
    }  # fmt: skip
    words, n = tokenizer((), WORDS)
    with quietly(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        pipeline = AceStepPipeline(
            vae=AutoencoderOobleck(
                encoder_hidden_size=2 * latents, downsampling_ratios=[8, 8, 5], channel_multiples=[1, 1, 1],
                decoder_channels=8, decoder_input_channels=latents, audio_channels=2, sampling_rate=8000,
            ),
            text_encoder=Qwen3Model(
                Qwen3Config(
                    vocab_size=n, hidden_size=width, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
                    num_key_value_heads=1, head_dim=8, max_position_embeddings=2048, pad_token_id=0, bos_token_id=2,
                    eos_token_id=3,
                )
            ),
            tokenizer=words,
            transformer=AceStepTransformer1DModel(
                **shape, num_hidden_layers=2, in_channels=3 * latents, audio_acoustic_hidden_dim=latents, patch_size=2
            ),
            condition_encoder=AceStepConditionEncoder(
                **shape, text_hidden_dim=width, timbre_hidden_dim=latents, num_lyric_encoder_hidden_layers=1,
                num_timbre_encoder_hidden_layers=1,
            ),
            scheduler=FlowMatchEulerDiscreteScheduler(num_train_timesteps=1, shift=1.0),
            audio_tokenizer=AceStepAudioTokenizer(
                **shape, audio_acoustic_hidden_dim=latents, fsq_dim=width, fsq_input_levels=[3, 3],
                num_attention_pooler_hidden_layers=1,
            ),
            audio_token_detokenizer=AceStepAudioTokenDetokenizer(
                **shape, audio_acoustic_hidden_dim=latents, num_attention_pooler_hidden_layers=1
            ),
        )  # fmt: skip
        pipeline.save_pretrained(folder)
    return folder
