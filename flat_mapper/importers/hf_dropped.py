"""Parts that an import of a Hugging Face model leaves out of its problem: named, never silent.

Three kinds: parts that a family always has and a problem does not (its `always`); keys whose
meaning is known (`_KEYS`); and every other key that nothing here reads, unless it is known to
change no computation (`_KNOWN`).
"""

from __future__ import annotations

from collections.abc import Mapping

from flat_mapper.importers.hf_families import CAPS, Family, Stack
from flat_mapper.spec.document import Section

# Keys that the importer reads besides a stack's own sizes, or that say the same in another stack;
# then those that change no count: names, tokens, training, constants that a value is scaled by,
# angles of positions, and choices of the largest of some weights.
_KNOWN = """
    model_type torch_dtype dtype is_decoder use_bidirectional_attention sliding_window
    sliding_window_pattern layer_types use_sliding_window max_window_layers image_size
    patch_size feed_forward_proj is_gated_act dense_act_fn hidden_act activation_function
    activation hidden_activation num_local_experts num_experts n_routed_experts
    num_experts_per_tok experts_per_token n_shared_experts interleave_moe_layer_step
    first_k_dense_replace attention_bias qkv_bias bias enable_bias do_layer_norm_before
    use_parallel_residual new_decoder_architecture multi_query num_kv_heads parallel_attn
    num_ln_in_parallel_attn kv_lora_rank q_lora_rank qk_rope_head_dim qk_nope_head_dim
    v_head_dim tie_word_embeddings vocab_size max_position_embeddings n_positions
    num_key_value_heads num_layers num_decoder_layers encoder_layers decoder_layers d_model
    num_heads encoder_attention_heads decoder_attention_heads encoder_ffn_dim decoder_ffn_dim
    max_source_positions max_target_positions intermediate_size intermediate_size_mlp
    relative_attention_num_buckets relative_attention_max_distance attention_chunk_size

    architectures auto_map transformers_version _name_or_path name_or_path use_cache
    cache_implementation return_dict output_attentions pruned_heads output_hidden_states
    torchscript problem_type finetuning_task id2label label2id task_specific_params pad_token_id
    bos_token_id eos_token_id sep_token_id decoder_start_token_id forced_bos_token_id
    forced_eos_token_id begin_suppress_tokens suppress_tokens boi_token_index eoi_token_index
    image_token_index image_token_id eot_token_id mm_tokens_per_image vocab_type
    initializer_range initializer_factor init_std classifier_dropout dropout attention_dropout
    hidden_dropout hidden_dropout_prob attn_pdrop embd_pdrop attention_probs_dropout_prob
    resid_pdrop activation_dropout dropout_rate embedding_dropout qa_dropout seq_classif_dropout
    layerdrop decoder_layerdrop encoder_layerdrop residual_dropout pretraining_tp
    output_router_logits router_aux_loss_coef aux_loss_alpha seq_aux router_jitter_noise ep_size
    gradient_checkpointing rms_norm_eps layer_norm_eps layer_norm_epsilon hidden_size_ratio
    rope_theta rope_scaling rope_parameters rope_local_base_freq rope_interleave rope_type
    rotary_emb_base for_llm_compressor original_max_position_embeddings initial_context_length
    max_length n_ctx query_pre_attn_scalar routed_scaling_factor norm_topk_prob n_group
    topk_group topk_method moe_layer_freq attn_scale floor_scale attn_temperature_tuning
    scale_attn_weights scale_attn_by_inverse_layer_idx scale_embedding is_encoder_decoder
    type_vocab_size position_embedding_type num_channels num_mel_bins encoder_stride
    num_hidden_layers gradient_checkpointing_kwargs reorder_and_upcast_attn summary_type
    summary_use_proj summary_activation summary_first_dropout summary_proj_to_labels
    unk_token_id tokenizer_class attn_implementation _attn_implementation num_return_sequences
    apply_spec_augment use_weighted_layer_sum
"""
_KEYS: Mapping[str, str] = {
    **CAPS,
    "swiglu_limit": "the clamp of the gated activation",
    "alibi": "the linear biases of the scores (ALiBi)",
    "use_qk_norm": "the norm of queries and keys",
    "no_rope_layers": "layers without rotary positions: all have them here",
    "no_rope_layer_interval": "layers without rotary positions: all have them here",
    "partial_rotary_factor": "the words of a head that are not turned: all are here",
    "rotary_pct": "the words of a head that are not turned: all are here",
    "num_nextn_predict_layers": "the layers that predict further tokens",
    "word_embed_proj_dim": "the projections between the embedding's width and the model's",
    "projection_dim": "the projection behind the last layer",
    "scoring_func": "the router's own function: its weights are a softmax here",
    "vision_config": "the vision part of the model",
    "audio_config": "the audio part of the model",
    "text_config": "the text part of the model",
}
_PLAIN = {"scoring_func": "softmax", "rotary_pct": 1, "partial_rotary_factor": 1}  # as it is here


def dropped_parts(outer: Section, config: Section, family: Family, stack: Stack) -> tuple[str, ...]:
    """Parts that are not in the problem of a model's part, a line each.

    outer: the whole file; config: the section of the part, which may be the same.
    """
    known = {*_KNOWN.split(), *(key for key, _ in stack.values())}
    found = list(family.always(config))
    for section in (config,) if outer is config else (outer, config):
        for key, value in section.items():
            off = value is None or value is False or value in (0, "", [], {}, _PLAIN.get(key))
            if not off and key not in known and value is not config:
                found.append(_words(key, value))
    return tuple(dict.fromkeys(found))


def _words(key: str, value: object) -> str:
    """The line of a key that is not in the problem."""
    if key == "quantization_config":
        method = value.get("quant_method") if isinstance(value, Mapping) else None
        return (
            f"quantization_config: weights in {method or 'a format of their own'}; --bits sets it"
        )
    if key in _KEYS:
        return f"{key}: {_KEYS[key]}"
    shown = value if isinstance(value, bool | int | float | str) else "a section"
    return f"{key} ({shown}): unknown here, and not in the problem"
