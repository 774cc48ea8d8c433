"""Makes metadata/: images of 8x8 pixels with generation parameters in the layouts of other programs,
and expected.json with what is to be read from them. Needs Pillow 12 or later.

Layouts by the programs' sources: stable-diffusion.cpp 97d2990 (PNG, JPEG comment, WebP XMP),
InvokeAI 8e71a8a (invokeai_metadata; sd-metadata of version 2), Fooocus 59f183a (both schemes; PNG,
JPEG), Draw Things bfafc68 (UserComment, also in XMP), mflux 97ac5e6 (UserComment), ComfyUI
(prompt, workflow; WebP in EXIF's Make and Model), A1111 1.10 and Forge (PNG, UserComment as piexif writes
it), SwarmUI 0.9.
"""

import io
import json
import os
import struct
import sys
import zlib

from PIL import Image, PngImagePlugin

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "metadata")
EXPECTED = {}
PROMPT, NEGATIVE = "a cat, 猫 é", "dogs: 犬"


def png(name, expected, *chunks, exif=None):
    """chunks: (type, data) after IHDR."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    parts = [chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)), *(chunk(*c) for c in chunks)]
    if exif:
        parts.append(chunk(b"eXIf", exif))
    parts += [chunk(b"IDAT", zlib.compress(bytes((8 * 3 + 1) * 8))), chunk(b"IEND", b"")]
    write(name, b"\x89PNG\r\n\x1a\n" + b"".join(parts), expected)


def write(name, data, expected):
    with open(os.path.join(OUT, name), "wb") as file:
        file.write(data)
    EXPECTED[name] = expected


def pil(name, expected, **options):
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, name.rsplit(".", 1)[1].replace("jpg", "jpeg").upper(), **options)
    write(name, out.getvalue(), expected)


def pil_png(name, expected, texts):
    """As Pillow's PngInfo.add_text: tEXt in Latin-1, else iTXt."""
    info = PngImagePlugin.PngInfo()
    for key, text in texts.items():
        info.add_text(key, text)
    pil(name, expected, pnginfo=info)


def exif_block(comment, order=">"):
    """A block with a UserComment alone, as piexif writes it."""
    head = b"MM\0*" if order == ">" else b"II*\0"
    return (head + struct.pack(order + "I", 8) + struct.pack(order + "HHHIII", 1, 0x8769, 4, 1, 26, 0)
            + struct.pack(order + "HHHIII", 1, 0x9286, 7, len(comment), 44, 0) + comment)


def jpeg_comment(name, expected, comment):
    out = io.BytesIO()
    Image.new("RGB", (8, 8)).save(out, "JPEG")
    data = out.getvalue()
    marker = b"\xff\xfe" + struct.pack(">H", len(comment) + 2) + comment
    write(name, data[:2] + marker + data[2:], expected)


def fields(**values):
    known = {"prompt": PROMPT, "negative": NEGATIVE, "steps": 8, "seed": "42", "width": 512, "height": 768}
    return {**known, **values}


def infotexts():
    settings = ("Steps: 8, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Seed: 42, Size: 512x768, "
                "Model hash: 0123456789, Model: z_image_turbo, Denoising strength: 0.4, Hires upscale: 2, "
                'Hires upscaler: Latent, Lora hashes: "a: 1234abcd, b: 5678", TI hashes: "x: 1", Version: v1.10.1')
    text = f"{PROMPT}\nNegative prompt: {NEGATIVE}\n{settings}"
    expected = {"source": "infotext", "unread": [],
                "fields": fields(model="z_image_turbo", model_hash="0123456789", schedule="Simple", guidance=0),
                "settings": {"Denoising strength": "0.4", "Hires upscale": "2", "Hires upscaler": "Latent",
                             "Lora hashes": "a: 1234abcd, b: 5678", "TI hashes": "x: 1", "Version": "v1.10.1"}}
    pil_png("a1111.png", expected, {"parameters": text})
    for order, name in (">", "big"), ("<", "little"):
        for coding in "utf-16-be", "utf-16-le":
            pil(f"a1111-{name}-{coding[-2:]}.jpg", expected,
                exif=b"Exif\0\0" + exif_block(b"UNICODE\0" + text.encode(coding), order))
    pil("a1111.webp", expected, exif=exif_block(b"UNICODE\0" + text.encode("utf-16-be")))
    png("latin1.png", {"fields": {"prompt": "café"}},
        (b"tEXt", b"parameters\0" + f"café\n{settings}".encode("latin-1")))
    png("compressed.png", expected, (b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(text.encode())))
    odd = text.replace("Seed: 42", "Seed: -1").replace("CFG scale: 1,", "CFG scale: None,")
    pil_png("odd.png", {"fields": {**expected["fields"], "seed": None, "guidance": None},
                        "unread": ["CFG scale: None", "Seed: -1"], "settings": {"Seed": "-1"}}, {"parameters": odd})


def sdcpp():
    data = json.dumps({"schema": "sdcpp.image.params/v1", "seed": 42, "prompt": {"positive": PROMPT}})
    text = (f"{PROMPT}\nNegative prompt: {NEGATIVE}\nSteps: 8, CFG scale: 1.000000, Guidance: 3.500000, "
            "Eta: 0.000000, Seed: 42, Size: 512x768, Model: z_image_turbo-Q4_0.gguf, RNG: cuda, "
            "Sampler: euler simple, TE: qwen_3_4b.safetensors, VAE: ae.safetensors, "
            f"Version: stable-diffusion.cpp, SDCPP: {data}")
    expected = {"source": "infotext", "fields": fields(model="z_image_turbo-Q4_0.gguf", guidance=0), "unread": [],
                "settings": {"Sampler": "euler simple", "VAE": "ae.safetensors"}}
    png("sdcpp.png", expected, (b"tEXt", b"parameters\0" + text.encode()))
    jpeg_comment("sdcpp.jpg", expected, b"parameters\0" + text.encode() + b"\0")
    for a, b in ("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&quot;"), ("'", "&apos;"):
        text = text.replace(a, b)
    pil("sdcpp.webp", expected, xmp=(
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>\n<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        '  <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '    <rdf:Description xmlns:sdcpp="https://github.com/leejet/stable-diffusion.cpp/ns/1.0/">\n'
        f"      <sdcpp:parameters>{text}</sdcpp:parameters>\n    </rdf:Description>\n  </rdf:RDF>\n</x:xmpmeta>\n"
        '<?xpacket end="w"?>').encode())


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def comfyui():
    graph = {
        "1": node("UNETLoader", unet_name="zit\\z_image_turbo_bf16.safetensors", weight_dtype="default"),
        "2": node("LoraLoaderModelOnly", lora_name="style.safetensors", strength_model=0.8, model=["1", 0]),
        "3": node("ModelSamplingAuraFlow", shift=3, model=["2", 0]),
        "4": node("CLIPLoader", clip_name="qwen_3_4b.safetensors", type="lumina2"),
        "5": node("CLIPTextEncode", text=["9", 0], clip=["4", 0]),
        "6": node("ConditioningZeroOut", conditioning=["5", 0]),
        "7": node("EmptySD3LatentImage", width=512, height=768, batch_size=1),
        "8": node("KSampler", seed=["10", 0], steps=8, cfg=1, sampler_name="res_multistep", scheduler="simple",
                  denoise=1, model=["3", 0], positive=["5", 0], negative=["6", 0], latent_image=["7", 0]),
        "9": node("PrimitiveStringMultiline", value=PROMPT),
        "10": node("Seed (rgthree)", seed=18446744073709551615),
        "11": node("VAEDecode", samples=["8", 0], vae=["12", 0]),
        "12": node("VAELoader", vae_name="ae.safetensors"),
    }
    graph["10"]["is_changed"] = [float("nan")]  # which Python writes as NaN
    workflow = {"last_node_id": 12, "nodes": [{"id": 8, "type": "KSampler"}]}
    expected = {"source": "ComfyUI graph", "unread": [],
                "fields": fields(negative="", seed="18446744073709551615", model="z_image_turbo_bf16", guidance=0,
                                 shift=3, schedule="simple"),
                "settings": {"Sampler": "res_multistep", "Lora weights": "style.safetensors: 0.8"},
                "texts": {"workflow": json.dumps(workflow)}}
    texts = {"prompt": json.dumps(graph), "workflow": json.dumps(workflow)}
    pil_png("comfyui.png", expected, texts)
    png("comfyui-ztxt.png", {**expected, "texts": {}},
        (b"zTXt", b"prompt\0\0" + zlib.compress(texts["prompt"].encode())))
    exif = Image.Exif()  # as ComfyUI's node for WebP
    exif[0x0110], exif[0x010F] = "prompt:" + texts["prompt"], "workflow:" + texts["workflow"]
    pil("comfyui.webp", expected, exif=exif)
    custom = {
        "1": node("CheckpointLoaderSimple", ckpt_name="all.safetensors"),
        "2": node("CLIPTextEncode", text=PROMPT, clip=["1", 1]),
        "3": node("CLIPTextEncode", text=NEGATIVE, clip=["1", 1]),
        "4": node("CFGGuider", cfg=4.5, model=["1", 0], positive=["2", 0], negative=["3", 0]),
        "5": node("BasicScheduler", steps=8, scheduler="beta", denoise=1, model=["1", 0]),
        "6": node("KSamplerSelect", sampler_name="euler"),
        "7": node("RandomNoise", noise_seed=42),
        "8": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "9": node("SamplerCustomAdvanced", noise=["7", 0], guider=["4", 0], sampler=["6", 0], sigmas=["5", 0],
                  latent_image=["8", 0]),
        "10": node("KSampler", seed=1, steps=3, cfg=2, sampler_name="heun", scheduler="karras", denoise=0.3,
                   model=["1", 0], positive=["2", 0], negative=["3", 0], latent_image=["11", 0]),
        "11": node("LatentUpscale", samples=["12", 0], width=1024, height=1536),
        "12": node("VAEEncode", pixels=["13", 0]),
        "13": node("VAEDecode", samples=["9", 0]),
    }
    custom = {key: custom[key] for key in sorted(custom, key=lambda k: -int(k))}
    pil_png("comfyui-custom.png", {"source": "ComfyUI graph", "unread": [],
                                   "fields": fields(model="all", guidance=3.5, schedule="beta"),
                                   "settings": {"Sampler": "euler", "Samplers": "2"}},
            {"prompt": json.dumps({k: custom[k] for k in ["9", *[k for k in custom if k != "9"]]})})
    circle = {"1": node("KSampler", seed=["2", 0], steps=8, positive=["3", 0], model=["3", 0], latent_image=["3", 0]),
              "2": node("Reroute", value=["2", 0], seed=["3", 0]),
              "3": node("Mixer", conditioning=["3", 0], text=["3", 0], model=["3", 0], samples=["3", 0],
                        value=["2", 0])}
    pil_png("comfyui-circle.png", {"source": "ComfyUI graph", "fields": {"steps": 8, "seed": None, "prompt": ""}},
            {"prompt": json.dumps(circle)})
    pil_png("comfyui-workflow.png", {"source": "ComfyUI workflow", "recipe": None, "fields": None},
            {"workflow": json.dumps(workflow)})
    pil_png("comfyui-and-infotext.png", {"source": "infotext and ComfyUI graph", "fields": fields(negative="")},
            {"prompt": json.dumps(graph),
             "parameters": f"{PROMPT}\nSteps: 8, Sampler: euler, CFG scale: 1.0, Seed: 42, Size: 512x768"})


def invokeai():
    metadata = {"app_version": "6.0.0", "generation_mode": "z_image_txt2img", "positive_prompt": PROMPT,
                "negative_prompt": NEGATIVE, "width": 512, "height": 768, "seed": 42, "cfg_scale": 1.0, "steps": 8,
                "scheduler": "euler", "model": {"key": "ab", "hash": "blake3:12", "name": "Z-Image Turbo",
                                                "base": "z-image", "type": "main"}, "z_image_shift": "auto",
                "loras": [{"model": {"name": "style"}, "weight": 0.75}]}
    pil_png("invokeai.png", {"source": "InvokeAI", "fields": fields(model="Z-Image Turbo", guidance=0),
                             "unread": ["Shift: auto"],
                             "settings": {"Sampler": "euler", "generation_mode": "z_image_txt2img",
                                          "loras": '[{"model":{"name":"style"},"weight":0.75}]'}},
            {"invokeai_metadata": json.dumps(metadata), "invokeai_graph": json.dumps({"id": "x", "nodes": {}})})
    old = {"model": "stable diffusion", "model_weights": "sd-1.5", "app_id": "invoke-ai/InvokeAI", "app_version": "2.3",
           "image": {"prompt": [{"prompt": f"{PROMPT} [{NEGATIVE}]", "weight": 1}], "steps": 8, "cfg_scale": 7.5,
                     "seed": 42, "width": 512, "height": 768, "sampler": "k_lms", "type": "txt2img"}}
    pil_png("invokeai-2.png", {"source": "InvokeAI", "fields": fields(model="sd-1.5", guidance=6.5),
                               "settings": {"Sampler": "k_lms", "app_version": "2.3"}},
            {"Dream": f'"{PROMPT} [{NEGATIVE}]" -s 8 -S 42', "sd-metadata": json.dumps(old)})


def fooocus():
    metadata = {"adm_guidance": "(1.5, 0.8, 0.3)", "base_model": "juggernautXL_v8", "base_model_hash": "aeb7e9e689",
                "full_negative_prompt": [NEGATIVE], "full_prompt": [PROMPT, "cinematic"], "guidance_scale": 4.0,
                "loras": [["sd_xl_offset", 0.1, "4852686128"]], "metadata_scheme": "fooocus",
                "negative_prompt": NEGATIVE, "performance": "Speed", "prompt": PROMPT, "refiner_model": "None",
                "resolution": "(512, 768)", "sampler": "dpmpp_2m", "scheduler": "karras", "seed": "42",
                "sharpness": 2.0, "steps": 8, "version": "Fooocus v2.5.5"}
    expected = {"source": "Fooocus", "unread": [],
                "fields": fields(model="juggernautXL_v8", model_hash="aeb7e9e689", guidance=3,
                                 schedule="karras"),
                "settings": {"Sampler": "dpmpp_2m", "performance": "Speed",
                             "adm_guidance": "(1.5, 0.8, 0.3)"}}
    text = json.dumps(metadata)
    pil_png("fooocus.png", expected, {"parameters": text, "fooocus_scheme": "fooocus"})
    exif = Image.Exif()
    exif[0x9286], exif[0x0131], exif[0x927C] = text, "Fooocus v2.5.5", "fooocus"
    pil("fooocus.jpg", expected, exif=exif)
    pil("fooocus.webp", expected, exif=exif)
    pil_png("fooocus-a1111.png", {"source": "Fooocus", "fields": fields(model="juggernautXL_v8", guidance=3)},
            {"parameters": f"{PROMPT}\nNegative prompt: {NEGATIVE}\nSteps: 8, Sampler: DPM++ 2M Karras, Seed: 42, "
                           "Size: 512x768, CFG scale: 4, Sharpness: 2, Model: juggernautXL_v8, Model hash: aeb7e9e689, "
                           "Performance: Speed, Scheduler: karras, Version: Fooocus v2.5.5", "fooocus_scheme": "a1111"})


def draw_things():
    data = {"c": PROMPT, "uc": NEGATIVE, "steps": 8, "sampler": "UniPC Trailing", "scale": 1, "seed": 42,
            "size": "512x768", "model": "z_image_turbo_1.0_q8p.ckpt", "strength": 1, "seed_mode": "Scale Alike",
            "shift": 3, "v2": {"batchCount": 1, "loras": []}}
    expected = {"source": "Draw Things", "unread": [],
                "fields": fields(model="z_image_turbo_1.0_q8p", guidance=0, shift=3),
                "settings": {"Sampler": "UniPC Trailing", "seed_mode": "Scale Alike",
                             "v2": '{"batchCount":1,"loras":[]}'}}
    text = json.dumps(data, ensure_ascii=False)
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&#34;")
    packet = ('<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 6.0.0">\n'
              ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n  <rdf:Description rdf:about=""\n'
              '    xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/">\n'
              f'   <exif:UserComment>\n    <rdf:Alt>\n     <rdf:li xml:lang="x-default">{escaped}</rdf:li>\n'
              '    </rdf:Alt>\n   </exif:UserComment>\n   <dc:description>\n    <rdf:Alt>\n'
              '     <rdf:li xml:lang="x-default">words</rdf:li>\n    </rdf:Alt>\n   </dc:description>\n'
              "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n")
    png("drawthings.png", expected, (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet.encode()))
    png("drawthings-exif.png", expected, exif=exif_block(b"UNICODE\0" + text.encode("utf-16-le"), "<"))
    pil("drawthings.jpg", expected, xmp=packet.encode())


def others():
    data = {"mflux_version": "0.12.1", "model": "Tongyi-MAI/Z-Image", "base_model": "None", "seed": 42, "steps": 8,
            "guidance": 4.0, "height": 768, "width": 512, "precision": "mlx.core.bfloat16", "quantize": 8,
            "lora_paths": None, "prompt": PROMPT, "negative_prompt": NEGATIVE}
    png("mflux.png", {"source": "mflux", "fields": fields(model="Z-Image", guidance=4), "unread": [],
                      "settings": {"quantize": "8", "mflux_version": "0.12.1"}},
        exif=exif_block(b"ASCII\0\0\0" + json.dumps(data).encode()))
    script = {"pipeline": "ZImagePipeline", "model": "Tongyi-MAI/Z-Image-Turbo", "prompt": PROMPT,
              "negative_prompt": NEGATIVE, "num_inference_steps": 8, "guidance_scale": 0.0, "seed": 42,
              "width": 512, "height": 768}
    pil_png("diffusers.png", {"source": "JSON", "fields": fields(model="Z-Image-Turbo", guidance=0)},
            {"parameters": json.dumps(script)})
    swarm = {"sui_image_params": {"prompt": PROMPT, "negativeprompt": NEGATIVE, "model": "Flux/z_image", "seed": 42,
                                  "steps": 8, "cfgscale": 1.0, "width": 512, "height": 768, "sampler": "euler",
                                  "scheduler": "simple", "swarm_version": "0.9.6"},
             "sui_extra_data": {"date": "2026-01-01"}}
    pil_png("swarmui.png", {"source": "SwarmUI", "fields": fields(model="z_image", guidance=0)},
            {"parameters": json.dumps(swarm)})


def unreadable():
    png("jis.png", {"source": None, "recipe": None, "texts": {"UserComment": None}},
        exif=exif_block(b"JIS\0\0\0\0\0\x1b$B"))
    pil_png("other-json.png", {"source": None, "fields": {"seed": None, "steps": 0}}, {"parameters": '{"a": {"b": 1}}'})
    pil_png("brace.png", {"source": "infotext", "fields": {"prompt": "{red|blue} cat", "steps": 8}},
            {"parameters": "{red|blue} cat\nSteps: 8, Seed: 1, Size: 8x8"})
    pil_png("deep.png", {"source": "infotext"}, {"parameters": '{"prompt":' + "[" * 5000})
    big = json.dumps({"prompt": PROMPT, "steps": 8, **{f"key {i}": "x" * 40 for i in range(20000)}})
    png("many-members.png", {"source": "JSON", "fields": {"prompt": PROMPT, "steps": 8}},
        (b"zTXt", b"parameters\0\0" + zlib.compress(big.encode(), 9)))
    png("too-long.png", {"source": None, "texts": {"parameters": None}},
        (b"zTXt", b"parameters\0\0" + zlib.compress(b"a" * 5_000_000, 9)))


def main():
    os.makedirs(OUT, exist_ok=True)
    for make in infotexts, sdcpp, comfyui, invokeai, fooocus, draw_things, others, unreadable:
        make()
    with open(os.path.join(OUT, "expected.json"), "w", encoding="utf-8") as file:
        json.dump(EXPECTED, file, ensure_ascii=False, indent=1)
        file.write("\n")


if __name__ == "__main__":
    sys.exit(main())
