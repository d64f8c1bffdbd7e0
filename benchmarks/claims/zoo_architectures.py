"""Architectures of torchvision, timm and transformers, with the blocks that an expert would name.

The blocks are named by the classes that the libraries give them, or by the names of the modules
where these have no class of their own.  All have random weights; those of transformers are tiny.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from designer.models.libraries import make_library_model
from designer.probing.calling import Inputs

SAMPLES = 12
"""Inputs that are made for each architecture."""

TOKENS, VOCABULARY = 12, 99

SMALLEST = 64
"""Pixels of the images, where an architecture does not ask for more."""

TORCHVISION = """
resnet18 BasicBlock
resnet50 Bottleneck
densenet121 _DenseBlock
mobilenet_v2 InvertedResidual
mobilenet_v3_small InvertedResidual
mnasnet0_5 _InvertedResidual
shufflenet_v2_x0_5 InvertedResidual
squeezenet1_0 Fire
googlenet Inception
inception_v3 InceptionA InceptionB InceptionC InceptionD InceptionE
efficientnet_b0 MBConv
regnet_y_400mf ResBottleneckBlock
convnext_tiny CNBlock
swin_t SwinTransformerBlock
swin_v2_t SwinTransformerBlockV2
vit_b_16 EncoderBlock
maxvit_t MaxVitLayer
"""

TIMM = """
resnet18 BasicBlock
resnet26 Bottleneck
seresnet18 BasicBlock
cspresnet50 BottleneckBlock
cspdarknet53 DarkBlock
vovnet39a OsaBlock
ese_vovnet19b_dw OsaBlock
mobilevit_xxs BottleneckBlock MobileVitBlock
mobilevitv2_050 BottleneckBlock LinearTransformerBlock
davit_tiny SpatialBlock ChannelBlock
pit_ti_224 Block
levit_128s LevitBlock
efficientformer_l1 MetaBlock2d MetaBlock1d
efficientformerv2_s0 EfficientFormerV2Block
tiny_vit_5m_224 TinyVitBlock MBConv
vit_tiny_patch16_224 Block
deit_tiny_patch16_224 Block
cait_xxs24_224 LayerScaleBlock
xcit_nano_12_p16_224 XCABlock
coat_tiny SerialBlock ParallelBlock
coat_lite_tiny SerialBlock
crossvit_tiny_240 MultiScaleBlock
hrnet_w18_small HighResolutionModule
mixer_s32_224 MixerBlock
resmlp_12_224 ResBlock
gmlp_s16_224 SpatialGatingBlock
convmixer_768_32 blocks.*
convnext_atto ConvNeXtBlock
convnextv2_atto ConvNeXtBlock
poolformer_s12 MetaFormerBlock
caformer_s18 MetaFormerBlock
edgenext_xx_small ConvBlock SplitTransposeBlock
regnetx_002 Bottleneck
nf_regnet_b0 NormFreeBlock
rexnet_100 LinearBottleneck
ghostnet_100 GhostBottleneck
mobilenetv3_small_050 DepthwiseSeparableConv InvertedResidual
efficientnet_lite0 DepthwiseSeparableConv InvertedResidual
dla34 level*
densenet121 DenseBlock
selecsls42 SelecSlsBlock
res2net50_14w_8s Bottle2neck
resnest14d ResNestBottleneck
skresnet18 SelectiveKernelBasic
repvgg_a0 RepVggBlock
fastvit_t8 RepMixerBlock
repvit_m0_9 RepViTBlock
inception_next_tiny MetaNeXtBlock
focalnet_tiny_srf FocalNetBlock
coatnet_nano_rw_224 MbConvBlock TransformerBlock2d
maxvit_rmlp_pico_rw_256 MaxxVitBlock
swin_tiny_patch4_window7_224 SwinTransformerBlock
swinv2_tiny_window8_256 SwinTransformerV2Block
twins_svt_small Block
pvt_v2_b0 Block
volo_d1_224 Outlooker Transformer
visformer_tiny Block
beit_base_patch16_224 Block
eva02_tiny_patch14_224 EvaBlock
hiera_tiny_224 HieraBlock
mvitv2_tiny MultiScaleBlock
nest_tiny TransformerLayer
sequencer2d_s Sequencer2dBlock
tnt_s_patch16_224 Block
gcvit_xxtiny GlobalContextVitBlock
convit_tiny Block
halonet26t BottleneckBlock SelfAttnBlock
botnet26t_256 BottleneckBlock SelfAttnBlock
lambda_resnet26t BottleneckBlock SelfAttnBlock
xception41 XceptionModule
starnet_s1 Block
mambaout_femto GatedConvBlock
hgnet_tiny HighPerfGpuBlock
mobilenetv4_conv_small UniversalInvertedResidual
efficientvit_b0 ResidualBlock EfficientVitBlock
efficientvit_m0 EfficientVitBlock
mobileone_s0 MobileOneBlock
hardcorenas_a DepthwiseSeparableConv InvertedResidual
wide_resnet50_2 Bottleneck
resnetv2_50 PreActBottleneck
inception_v4 InceptionA InceptionB InceptionC
nfnet_l0 NormFreeBlock
tresnet_m BasicBlock Bottleneck
tf_efficientnetv2_b0 EdgeResidual InvertedResidual
mixnet_s DepthwiseSeparableConv InvertedResidual
fbnetc_100 InvertedResidual
spnasnet_100 DepthwiseSeparableConv InvertedResidual
convformer_s18 MetaFormerBlock
"""

TRANSFORMERS = """
bert BertLayer
roberta RobertaLayer
electra ElectraLayer
deberta DebertaLayer
deberta-v2 DebertaV2Layer
distilbert TransformerBlock
albert AlbertLayer
mpnet MPNetLayer
t5 T5Block
bart BartEncoderLayer BartDecoderLayer
gpt2 GPT2Block
opt OPTDecoderLayer
llama LlamaDecoderLayer
mistral MistralDecoderLayer
qwen2 Qwen2DecoderLayer
gpt_neox GPTNeoXLayer
phi PhiDecoderLayer
bloom BloomBlock
falcon FalconDecoderLayer
gemma GemmaDecoderLayer
xlnet XLNetLayer
longformer LongformerLayer
camembert CamembertLayer
mobilebert MobileBertLayer
squeezebert SqueezeBertModule
convbert ConvBertLayer
vit ViTLayer
beit BeitLayer
swin SwinLayer
convnext ConvNextLayer
resnet ResNetBasicLayer
segformer SegformerLayer
poolformer PoolFormerLayer
mobilevit MobileViTLayer MobileViTInvertedResidual
dinov2 Dinov2Layer
wav2vec2 Wav2Vec2EncoderLayer
hubert HubertEncoderLayer
whisper WhisperEncoderLayer WhisperDecoderLayer
pvt PvtLayer
fnet FNetLayer
nystromformer NystromformerLayer
roformer RoFormerLayer
ernie ErnieLayer
rembert RemBertLayer
gptj GPTJBlock
codegen CodeGenBlock
gpt_neo GPTNeoBlock
ibert IBertLayer
layoutlm LayoutLMLayer
xlm-roberta XLMRobertaLayer
data2vec-text Data2VecTextLayer
mamba MambaBlock
modernbert ModernBertEncoderLayer
olmo2 Olmo2DecoderLayer
"""

IMAGES, MAPS, SOUND = (
    {"vit", "beit", "dinov2", "swin"},
    {
        "convnext",
        "resnet",
        "segformer",
        "poolformer",
        "mobilevit",
        "pvt",
    },
    {"wav2vec2", "hubert"},
)
"""Models of transformers that take images of 32 and of 64 pixels, and waves."""

BOTH = {"t5", "bart", "whisper"}
"""Models with an encoder and a decoder."""

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}

_SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
_VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
_WAVES = {
    "conv_dim": (16,) * 3,
    "conv_stride": (5, 2, 2),
    "conv_kernel": (10, 3, 3),
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "mask_time_prob": 0.0,
}
_BOTH_SIDES = {
    "d_model": 32,
    "encoder_layers": 4,
    "decoder_layers": 4,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
}
_ROTARY = {
    **_SPECIAL,
    "vocab_size": VOCABULARY,
    "n_embd": 32,
    "n_layer": 4,
    "n_head": 4,
    "n_positions": 64,
    "rotary_dim": 4,
}
_GROUPED = {**_SPECIAL, "num_key_value_heads": 2}

SETTINGS: dict[str, dict[str, Any]] = {
    "t5": {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 4, "num_decoder_layers": 4}
    | {"num_heads": 4, "decoder_start_token_id": 0, "vocab_size": VOCABULARY},
    "bart": {**_BOTH_SIDES, "vocab_size": VOCABULARY, "max_position_embeddings": 64},
    "whisper": {**_BOTH_SIDES, **_SPECIAL, "vocab_size": VOCABULARY, "num_mel_bins": 8}
    | {"max_source_positions": 20, "max_target_positions": 20, "decoder_start_token_id": 1},
    "distilbert": {"vocab_size": VOCABULARY, "dim": 32, "n_layers": 4, "n_heads": 4}
    | {"hidden_dim": 64, "max_position_embeddings": 64},
    "gpt2": {"vocab_size": VOCABULARY, "n_embd": 32, "n_layer": 4, "n_head": 4, "n_positions": 64},
    "gpt_neo": {"vocab_size": VOCABULARY, "hidden_size": 32, "num_layers": 4, "num_heads": 4}
    | {"attention_types": [[["global", "local"], 2]], "max_position_embeddings": 64},
    "opt": {**SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32, "pad_token_id": 1},
    "bloom": {"vocab_size": VOCABULARY, "hidden_size": 32, "n_layer": 4, "n_head": 4},
    "xlnet": {"vocab_size": VOCABULARY, "d_model": 32, "n_layer": 4, "n_head": 4, "d_inner": 64},
    "mamba": {"vocab_size": VOCABULARY, "hidden_size": 32, "num_hidden_layers": 4},
    "mobilebert": {**SMALL, "intra_bottleneck_size": 16, "embedding_size": 16}
    | {"true_hidden_size": 16},
    "longformer": {**SMALL, "attention_window": 4},
    "convbert": {**SMALL, "embedding_size": 32},
    "squeezebert": {**SMALL, "embedding_size": 32},
    "modernbert": {**SMALL, **_SPECIAL, "cls_token_id": 1, "sep_token_id": 2},
    "falcon": {**SMALL, **_SPECIAL},
    "phi": {**SMALL, **_SPECIAL},
    "gemma": {**SMALL, **_GROUPED, "head_dim": 8},
    "swin": {"image_size": 32, "patch_size": 2, "embed_dim": 16, "depths": [2, 2, 2]}
    | {"num_heads": [2, 2, 4], "window_size": 4},
    "convnext": {"hidden_sizes": [16, 24, 32, 48], "depths": [2, 2, 3, 2]},
    "resnet": {"hidden_sizes": [16, 24, 32, 48], "depths": [2, 2, 3, 2], "embedding_size": 16}
    | {"layer_type": "basic"},
    "pvt": {"image_size": SMALLEST},
    "mobilevit": {"image_size": SMALLEST},
    "segformer": {},
    "poolformer": {},
}
SETTINGS |= dict.fromkeys(("vit", "beit", "dinov2"), _VISION)
SETTINGS |= {key: {**SMALL, **_WAVES} for key in SOUND}
SETTINGS |= {key: {**SMALL, **_GROUPED} for key in ("llama", "mistral", "qwen2", "olmo2")}
SETTINGS |= dict.fromkeys(("gptj", "codegen"), _ROTARY)
"""Configurations of transformers that are not ``SMALL``."""


@dataclass(frozen=True)
class Architecture:
    """One architecture of a library."""

    library: str
    """``torchvision``, ``timm`` or ``transformers``."""
    name: str
    """Its name there."""
    blocks: tuple[str, ...] = field(default=())
    """Classes, or patterns of names, of the modules that an expert would call blocks."""

    def build(self) -> tuple[nn.Module, Inputs]:
        """Return the model in eval mode, with inputs (n, ...)."""
        torch.manual_seed(0)
        model, inputs = _MAKERS[self.library](self.name)
        return model.eval(), inputs

    def expected(self, model: nn.Module) -> set[str]:
        """Return the names of the blocks, outermost modules only."""
        names = [name for name, module in model.named_modules() if self._is_block(name, module)]
        return {n for n in names if not any(n.startswith(f"{other}.") for other in names)}

    def _is_block(self, name: str, module: nn.Module) -> bool:
        if type(module).__name__ in self.blocks:
            return True
        patterns = [block for block in self.blocks if "*" in block]
        return any(
            fnmatchcase(name, pattern) and name.count(".") == pattern.count(".")
            for pattern in patterns
        )


def architectures() -> list[Architecture]:
    """Return all architectures."""
    tables = {"torchvision": TORCHVISION, "timm": TIMM, "transformers": TRANSFORMERS}
    return [
        Architecture(library, name, tuple(blocks))
        for library, table in tables.items()
        for name, *blocks in map(str.split, table.strip().splitlines())
    ]


def _from_torchvision(name: str) -> tuple[nn.Module, Inputs]:
    quiet = {"aux_logits": False, "init_weights": False}
    arguments = quiet if name in {"googlenet", "inception_v3"} else {}
    size = {"inception_v3": 96, "vit_b_16": 224, "maxvit_t": 224}.get(name, SMALLEST)
    model = make_library_model(
        f"torchvision:{name}", {"num_classes": 10, **arguments}, trained=False
    )
    return model, _pictures(size)


def _from_timm(name: str) -> tuple[nn.Module, Inputs]:
    """Return a model for the smallest images that it runs on."""
    source, classes = f"timm:{name}", {"num_classes": 10}
    attempts: list[tuple[Mapping[str, int], int | None]] = [
        ({"img_size": SMALLEST}, SMALLEST),
        ({}, SMALLEST),
        ({}, None),
    ]
    for arguments, size in attempts:
        try:
            model: Any = make_library_model(source, {**classes, **arguments}, trained=False).eval()
            images = _pictures(size or int(model.default_cfg["input_size"][-1]))
            with torch.no_grad():
                model(images[:2])
        except Exception:  # noqa: BLE001 - a library refuses sizes with errors of any class
            continue
        return model, images
    raise ValueError(f"'{name}' ran on images of no size")


def _from_transformers(name: str) -> tuple[nn.Module, Inputs]:
    transformers: Any = importlib.import_module("transformers")
    config = transformers.AutoConfig.for_model(name, **SETTINGS.get(name, SMALL))
    config.use_cache = False  # torch.export knows no caches
    if name in IMAGES | MAPS:
        model = transformers.AutoModelForImageClassification.from_config(config)
        return model, _pictures(32 if name in IMAGES else SMALLEST)
    model = transformers.AutoModel.from_config(config)
    if name in SOUND:
        return model, torch.randn(SAMPLES, 800)
    if name == "whisper":
        return model, {"input_features": torch.randn(SAMPLES, 8, 40), "decoder_input_ids": _text()}
    if name in BOTH:
        return model, {"input_ids": _text(), "decoder_input_ids": _text()}
    return model, {"input_ids": _text()}


_MAKERS: dict[str, Callable[[str], tuple[nn.Module, Inputs]]] = {
    "torchvision": _from_torchvision,
    "timm": _from_timm,
    "transformers": _from_transformers,
}


def _pictures(size: int) -> Tensor:
    return torch.randn(SAMPLES, 3, size, size)


def _text() -> Tensor:
    return torch.randint(5, VOCABULARY - 5, (SAMPLES, TOKENS))
