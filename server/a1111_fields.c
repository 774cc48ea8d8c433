/* Tables of the fields of A1111's API. */
#include "server/a1111.h"

#include <stddef.h>

#define AT(field) offsetof(zi_a1111_request, field)
#define FLAG(name_, field) ZI_FIELD_OWN(name_, AT(field), .type = ZI_PARAMETER_BOOL)
#define TEXT(name_, field, max_)                                                                   \
    ZI_FIELD_OWN(name_, AT(field), .type = ZI_PARAMETER_TEXT, .max = max_)
#define UNUSED ZI_FIELD_WITHOUT_EFFECT
#define ONLY ZI_FIELD_NOT_SUPPORTED

const zi_client_field zi_a1111_fields[] = {
    ZI_CLIENT_PROMPT("prompt"),
    ZI_FIELD_OF("batch_size", "count", AT(batch)),
    ZI_FIELD_OF("n_iter", "count", AT(rounds)),
    TEXT("sampler_name", sampler, 100),
    TEXT("sampler_index", sampler_index, 100), /* used if sampler_name is absent or empty */
    TEXT("scheduler", scheduler, 100),
    ZI_CLIENT_GENERATION_FIELDS,
    ZI_FIELD_MEMBERS("override_settings", zi_a1111_settings),
    FLAG("override_settings_restore_afterwards", restore),
    FLAG("send_images", send),
    ZI_CLIENT_EXTRA_ARGS,
    ZI_CLIENT_UNSUPPORTED_FIELDS,
    ONLY("enable_hr", "[false]"),
    ONLY("tiling", "[false]"),
    ONLY("restore_faces", "[false]"),
    ONLY("subseed_strength", "[0]"),
    ONLY("seed_resize_from_w", "[0,-1]"),
    ONLY("seed_resize_from_h", "[0,-1]"),
    ONLY("refiner_checkpoint", "[\"None\"]"),
    ONLY("script_name", "[\"None\"]"),
    ONLY("alwayson_scripts", NULL),
    ONLY("styles", NULL),
    ONLY("infotext", NULL), /* parameters in another form */
    ONLY("firstpass_image", NULL),
    ONLY("s_churn", "[0]"),
    ONLY("s_min_uncond", "[0]"),
    ONLY("cache_options", NULL),
    ONLY("frames", "[1]"), /* koboldcpp has it: more are a video */
    ONLY("circular", "[false]"),
    /* These set up features that are refused above. */
    UNUSED("denoising_strength"),
    UNUSED("hr_*"),
    UNUSED("firstphase_*"),
    UNUSED("subseed"),
    UNUSED("refiner_switch_at"),
    UNUSED("script_args"),
    UNUSED("inpainting_*"),
    UNUSED("inpaint_full_res*"),
    UNUSED("mask_blur*"),
    UNUSED("resize_mode"),
    UNUSED("image_cfg_scale"),
    UNUSED("initial_noise_multiplier"),
    UNUSED("include_init_images"),
    UNUSED("video_output_type"),
    /* These set up samplers and models that do not exist here. */
    UNUSED("eta"),
    UNUSED("s_tmax"),
    UNUSED("s_tmin"),
    UNUSED("s_noise"),
    UNUSED("clip_skip"),
    UNUSED("distilled_cfg_scale"),
    UNUSED("distilled_guidance"),
    UNUSED("disable_extra_networks"),
    /* These are about files on the server and its page. */
    UNUSED("do_not_save_samples"),
    UNUSED("do_not_save_grid"),
    UNUSED("save_images"),
    UNUSED("comments"),
    UNUSED("force_task_id"),
    {0}};

const zi_client_field zi_a1111_settings[] = {
    TEXT("sd_model_checkpoint", model, 1000),
    ONLY("sd_vae", "[\"Automatic\",\"None\"]"),
    ONLY("sd_unet", "[\"Automatic\",\"None\"]"),
    ONLY("sd_hypernetwork", "[\"None\"]"),
    ONLY("sd_lora", "[\"None\"]"),
    ONLY("forge_additional_modules", NULL),
    ONLY("forge_try_reproduce", "[\"None\"]"), /* it changes the noise */
    ONLY("face_restoration", "[false]"),
    ONLY("tiling", "[false]"),
    ONLY("eta_noise_seed_delta", "[0]"),
    ONLY("randn_source", "[\"CPU\"]"), /* the seed means the noise that torch makes on the CPU */
    ONLY("s_churn", "[0]"),
    ONLY("s_min_uncond", "[0]"),
    ONLY("s_min_uncond_all", "[false]"),
    ONLY("skip_early_cond", "[0]"),
    ONLY("token_merging_ratio*", "[0]"),
    ONLY("sd_noise_schedule", "[\"Default\"]"),
    ONLY("k_sched_type", "[\"Automatic\"]"),
    ONLY("sigma_min", "[0]"),
    ONLY("sigma_max", "[0]"),
    ONLY("rho", "[0]"),
    ONLY("always_discard_next_to_last_sigma", "[false]"),
    ONLY("samples_format", "[\"png\"]"),
    ONLY("enable_pnginfo", "[true]"),
    /* These set up samplers, models and features that do not exist here. */
    UNUSED("CLIP_stop_at_last_layers"),
    UNUSED("comma_padding_backtrack"),
    UNUSED("emphasis"),
    UNUSED("enable_emphasis"),
    UNUSED("eta_*"),
    UNUSED("ddim_*"),
    UNUSED("uni_pc_*"),
    UNUSED("s_tmin"),
    UNUSED("s_tmax"),
    UNUSED("s_noise"),
    UNUSED("img2img_*"),
    UNUSED("inpainting_*"),
    UNUSED("initial_noise_multiplier"),
    UNUSED("face_restoration_*"),
    UNUSED("code_former_weight"),
    UNUSED("upscaler_for_img2img"),
    UNUSED("ESRGAN_*"),
    UNUSED("extra_networks_*"),
    UNUSED("refiner_switch_*"),
    UNUSED("sdxl_*"),
    UNUSED("sd3_*"),
    /* These are about memory, files on the server and its page. */
    UNUSED("forge_*"), /* except those above */
    UNUSED("sd_checkpoint*"),
    UNUSED("sd_vae_*"),
    UNUSED("samples_*"),
    UNUSED("save_*"),
    UNUSED("grid_*"),
    UNUSED("return_*"),
    UNUSED("do_not_*"),
    UNUSED("outdir_*"),
    UNUSED("directories_*"),
    UNUSED("add_model_*"),
    UNUSED("jpeg_quality"),
    UNUSED("webp_lossless"),
    UNUSED("live_preview*"),
    UNUSED("show_*"),
    UNUSED("ui_*"),
    UNUSED("send_*"),
    {0}};
