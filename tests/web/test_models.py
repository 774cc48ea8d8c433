"""The Models view: list, inspection, verification, conversion, import and download; and the Log view."""

import os
import re
import shutil
import sys
import tempfile
import unittest

from support import DATA, JOB_TIMEOUT_MS, RED, STAR, HeldRequest, HeldEvents, PageCase, expect

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from hub import Hub

SMALL = os.path.join(DATA, "golden", "model")


class Models(PageCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        shutil.copytree(SMALL, os.path.join(cls.server.models, "pytorch", "small"))

    def setUp(self):
        super().setUp()
        self.page.click(".tabs >> text=Models")
        expect(self.model("small")).to_be_visible()

    def model(self, name):
        return self.page.locator(".model").filter(has=self.page.get_by_role("heading", name=name, exact=True))

    def test_list(self):
        for word in "diffusers", "BF16", "Usable":
            expect(self.model("small")).to_contain_text(word)
        for folder in "models/mlx", "models/pytorch", "models/comfyui", "models/prompt_enhancer":
            expect(self.page.locator("#models")).to_contain_text(folder)
        expect(self.model("demo")).to_contain_text("128 × 128")

    def test_inspect(self):
        self.page.get_by_role("button", name="Inspect: small", exact=True).click()
        dialog = self.page.get_by_role("dialog", name="small")
        for word in "Z-Image", "transformer", "text encoder", "parameters":
            expect(dialog).to_contain_text(word)
        self.page.keyboard.press("Escape")
        expect(self.page.get_by_role("button", name="Inspect: small", exact=True)).to_be_focused()

    def verify(self):
        """Verifies the demo model, waits until that is done and returns the job in the list."""
        job = self.new_model_job(self.page.get_by_role("button", name="Verify: demo", exact=True).click)
        expect(job).to_contain_text("Verified demo")
        return job

    def verify_by_api(self):
        """Submits a job that verifies the demo model. -> its id"""
        return self.page.evaluate("""() => fetch('/api/jobs', { method: 'POST', headers: { 'Content-Type': 'application/json' },
            body: JSON.stringify({ kind: 'verify', params: { model: 'demo' } }) }).then((answer) => answer.json())""")["id"]

    def test_verify(self):
        job = self.verify()
        expect(job.locator(".chip.good")).not_to_have_count(0)
        expect(job.locator(".chip.bad")).to_have_count(0)

    def convert(self, source, layout, precision, name=None):
        self.page.get_by_role("button", name=f"Convert: {source}", exact=True).click()
        dialog = self.page.get_by_role("dialog", name=f"Convert {source}")
        dialog.get_by_label("Layout").select_option(layout)
        dialog.get_by_label("Precision").select_option(precision)
        if name is not None:
            dialog.get_by_label("Name of the new model").fill(name)
        suggested = dialog.get_by_label("Name of the new model").input_value()
        dialog.get_by_role("button", name="Convert").click()
        return dialog, suggested

    def test_convert_and_generate(self):
        _, name = self.convert("demo", "mlx", "fp16")
        self.assertEqual(name, "demo-mlx-fp16")
        expect(self.page.locator(".model-job").filter(has_text=f"Done: mlx/{name}")).to_contain_text("Converted demo")
        expect(self.model(name)).to_contain_text("MLX")
        self.page.get_by_role("button", name=f"Use: {name}", exact=True).click()
        expect(self.page.locator("#view-generate")).to_be_visible()
        self.assertEqual(self.page.input_value("#model"), f"mlx/{name}")
        self.generate(RED)
        expect(self.page.locator("#result")).to_contain_text(name)

    def test_precision_filters_models(self):
        self.convert("demo", "mlx", "q8", "eight")
        expect(self.model("eight")).to_be_visible()
        self.page.click(".tabs >> text=Generate")
        self.page.select_option("#model", "mlx/eight")
        offered = self.page.locator("#precision option").all_inner_texts()
        self.assertGreaterEqual(len(offered), 3, offered)
        precision = next(text for text in offered if "8" in text)
        self.page.select_option("#precision", precision)
        self.assertEqual(self.page.locator("#model option").count(), 1)
        self.assertEqual(self.page.input_value("#model"), "mlx/eight")
        self.page.select_option("#precision", "")
        self.assertGreaterEqual(self.page.locator("#model option").count(), 3)

    def test_selected_model_is_saved(self):
        self.convert("demo", "mlx", "bf16", "kept")
        expect(self.model("kept")).to_be_visible()
        self.page.get_by_role("button", name="Use: kept", exact=True).click()
        expect(self.page.locator("#view-generate")).to_be_visible()
        self.page.route("**/api/models", lambda route: route.abort())
        self.page.reload()
        self.page.fill("#prompt", STAR)
        self.page.locator("#prompt").blur()  # saves the form before the list of models is loaded
        self.page.unroute("**/api/models")
        self.page.reload()
        self.wait_until_loaded(self.page)
        self.assertEqual(self.page.input_value("#prompt"), STAR)
        self.assertEqual(self.page.input_value("#model"), "mlx/kept")

    def test_quantize_and_errors(self):
        self.convert("demo", "comfyui", "bf16", "taken")
        expect(self.model("taken.safetensors")).to_be_visible()
        dialog, _ = self.convert("demo", "comfyui", "bf16", "taken")
        expect(dialog.locator("#convert-destination-error")).to_contain_text("taken")
        dialog.get_by_label("Name of the new model").fill("")
        dialog.get_by_role("button", name="Convert").click()
        expect(dialog.locator("#convert-destination-error")).to_contain_text("Enter a name")
        dialog.get_by_label("Name of the new model").fill("../outside")
        dialog.get_by_role("button", name="Convert").click()
        expect(dialog.locator("#convert-destination-error")).not_to_be_empty()
        self.page.keyboard.press("Escape")
        self.convert("demo", "same", "fp8", "demo-fp8")
        expect(self.model("demo-fp8")).to_be_visible()
        expect(self.page.locator(".model-job").first).to_contain_text("Quantized demo")

    def test_import(self):
        self.convert("demo", "comfyui", "fp16", "source")
        expect(self.model("source.safetensors")).to_be_visible()
        file = os.path.join(self.server.dir, "imported.safetensors")
        os.rename(os.path.join(self.server.models, "comfyui", "source.safetensors"), file)
        self.page.set_input_files("#import-file", file)
        expect(self.model("imported.safetensors")).to_be_visible()
        with open(file, "rb") as before, open(os.path.join(self.server.models, "comfyui", "imported.safetensors"), "rb") as after:
            self.assertEqual(before.read(), after.read())
        self.page.set_input_files("#import-file", {"name": "x.safetensors", "mimeType": "", "buffer": b"no model"})
        expect(self.page.locator("#import-error")).to_contain_text("x.safetensors")
        self.page.set_input_files("#import-file", {"name": "x.zip", "mimeType": "", "buffer": b"no model"})
        expect(self.page.locator("#import-error")).to_contain_text("x.zip is not a .safetensors or .gguf file.")
        self.assertFalse(os.path.exists(os.path.join(self.server.models, "comfyui", "x.safetensors")))

    def test_import_by_path(self):
        shutil.copytree(SMALL, os.path.join(self.server.models, "flat"))
        form, error = self.page.locator("#import-form"), self.page.locator("#import-path-error")
        path = form.get_by_label("Or a path")
        form.get_by_role("button", name="Import").click()
        expect(error).to_have_text("Enter the path of a file or folder.")
        path.fill("/etc")
        form.get_by_role("button", name="Import").click()
        expect(error).to_contain_text("zimage import PATH")
        expect(path).to_have_attribute("aria-invalid", "true")
        expect(path).to_be_focused()
        path.fill("flat")
        path.press("Enter")
        expect(self.page.locator(".model-job").first).to_contain_text("Imported flat")
        expect(self.model("flat")).to_contain_text("diffusers")
        expect(error).to_be_empty()
        expect(path).to_have_value("")
        path.fill("flat")
        path.press("Enter")
        expect(self.page.locator(".model-job").first.get_by_role("alert")).to_contain_text("there already")

    def test_log(self):
        self.verify()
        self.page.click(".tabs >> text=Log")
        expect(self.page.locator("#log .log-line")).not_to_have_count(0)
        before = self.page.locator("#log .log-line").count()
        self.verify_by_api()
        self.wait_until("before => document.querySelectorAll('#log .log-line').length > before", arg=before)

    def test_log_line_while_the_log_is_requested(self):
        held = HeldRequest(self.page, "**/api/log")
        self.page.click(".tabs >> text=Log")
        held.wait()
        job = self.verify_by_api()
        expect(self.page.locator(f"[data-job='{job}']")).to_contain_text("Verified demo")
        held.release()
        lines = self.page.evaluate("fetch('/api/log').then(answer => answer.json())")["lines"]
        self.assertGreater(len(lines), len(held.response.json()["lines"]))
        expect(self.page.locator("#log .log-text")).to_have_text([line["text"] for line in lines])

    def test_log_line_before_its_event(self):
        held = HeldEvents(self.page, "log")
        self.wait_until_loaded(self.page)
        self.verify()
        self.page.click(".tabs >> text=Log")
        expect(self.page.locator("#log .log-line")).not_to_have_count(0)
        lines = self.page.locator("#log .log-line").count()
        held.release()
        self.page.wait_for_timeout(300)
        expect(self.page.locator("#log .log-line")).to_have_count(lines)

    def test_outdated_list_of_models(self):
        held = HeldRequest(self.page, "**/api/models")
        self.page.reload()
        held.wait()
        self.page.evaluate("fetch('/api/jobs', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: JSON.stringify({kind: 'convert', params: {source: 'pytorch/small', layout: 'mlx', destination: 'later'}})})")
        expect(self.page.locator("#model option[value='mlx/later']")).to_have_count(1)
        held.release()
        self.page.wait_for_timeout(300)
        expect(self.page.locator("#model option[value='mlx/later']")).to_have_count(1)


class Download(PageCase):
    """Downloads from a local stand-in for the hub."""

    @classmethod
    def setUpClass(cls):
        cls.hub = Hub()
        cls.addClassCleanup(cls.hub.close)
        os.environ["HF_ENDPOINT"] = cls.hub.url
        os.environ["HF_HOME"] = os.path.join(cls.hub_dir(), "hf")
        super().setUpClass()

    @classmethod
    def hub_dir(cls):
        folder = tempfile.TemporaryDirectory(prefix="zimage-web-hub-")
        cls.addClassCleanup(folder.cleanup)
        return folder.name

    def setUp(self):
        shutil.rmtree(os.path.join(self.server.models, "pytorch", "Z-Image-Turbo"), ignore_errors=True)
        super().setUp()
        files = {}
        for at, _, names in os.walk(SMALL):
            for name in names:
                with open(os.path.join(at, name), "rb") as file:
                    files[os.path.relpath(os.path.join(at, name), SMALL)] = file.read()
        self.hub.add("Tongyi-MAI/Z-Image-Turbo", files)
        self.hub.rate, self.hub.gated, self.hub.token = None, False, None
        self.page.click(".tabs >> text=Models")
        self.form = self.page.locator("#download-form")
        self.job = self.page.locator(".model-job").first

    def go(self):
        self.form.get_by_role("button", name="Download").click()

    def listed(self, name):
        return self.page.locator("#models").get_by_role("heading", name=name, exact=True)

    def test_choices(self):
        self.assertEqual(self.form.get_by_label("Repository").input_value(), "Tongyi-MAI/Z-Image-Turbo")
        expect(self.page.locator("#download-note")).to_contain_text("32.9 GB download")
        self.form.get_by_label("Layout").select_option("mlx")
        self.form.get_by_label("Precision").select_option("q4")
        expect(self.page.locator("#download-note")).to_contain_text("11.9 GB on disk")
        self.form.get_by_label("Layout").select_option("comfyui")
        self.assertNotIn("q4", self.form.get_by_label("Precision").evaluate("e => [...e.options].map(o => o.value)"))
        self.form.get_by_label("Repository").fill("no repository")
        expect(self.page.locator("#download-note")).not_to_contain_text("GB")
        self.go()
        expect(self.page.locator("#download-repo-error")).to_contain_text("OWNER/NAME")
        expect(self.form.get_by_label("Repository")).to_be_focused()

    def test_download_before_layouts_are_loaded(self):
        held = HeldRequest(self.page, "**/api/config", unsent=True)
        self.page.reload()
        self.wait_until_loaded(self.page)
        expect(self.listed("Z-Image-Turbo")).to_have_count(0)
        expect(self.new_model_job(self.go)).to_contain_text("Downloaded Z-Image-Turbo")
        expect(self.listed("Z-Image-Turbo")).to_be_visible()
        held.release()

    def test_cancel_and_resume(self):
        self.hub.rate = 100000
        self.go()
        expect(self.job).to_contain_text("Downloading Z-Image-Turbo")
        expect(self.job.locator(".tabular-nums")).to_contain_text(re.compile(r"\d.* of 4\.\d+ MB"))
        expect(self.job.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile(r"^\d+$"))
        self.screenshot(self.page, "models-downloading")
        self.job.get_by_role("button", name="Cancel").click()
        expect(self.job).to_contain_text("The partial download is kept.")
        self.hub.rate = None
        self.job.get_by_role("button", name="Resume").click()
        expect(self.job).to_contain_text("Downloaded Z-Image-Turbo")
        expect(self.listed("Z-Image-Turbo")).to_be_visible()
        expect(self.page.get_by_role("button", name="Resume")).to_have_count(0)
        self.screenshot(self.page, "models-downloaded")

    def test_generating_while_downloading(self):
        """A download and a generate job that run at once are both shown, also after a reload."""
        self.hub.rate = 5000
        self.hub.add("somebody/slow", self.hub.repos["Tongyi-MAI/Z-Image-Turbo"].files)
        self.form.get_by_label("Repository").fill("somebody/slow")
        page, status, run = self.page, self.page.locator("#status"), self.page.locator("#run")
        self.go()
        expect(self.job.locator(".tabular-nums")).to_contain_text("of 4.")
        expect(status).to_have_text("Downloading")
        self.go()
        expect(self.job).to_contain_text("Queued")
        expect(status).to_have_text("Downloading, 1 job queued")
        page.click(".tabs >> text=Generate")
        self.start_long_job(width=768, height=768)
        for _ in range(2):
            expect(run).to_contain_text(re.compile(r"Step \d+ of 20"))
            expect(status).to_have_text("Running and downloading, 1 job queued")
            page.reload()
        self.screenshot(page, "generate-running-beside-download")
        page.click(".tabs >> text=Models")
        running = page.locator(".model-job[data-state=running]")
        expect(running.get_by_role("progressbar")).to_have_attribute("aria-valuenow", re.compile(r"^\d+$"))
        before = running.locator(".tabular-nums").inner_text()
        expect(running.locator(".tabular-nums")).not_to_have_text(before)
        expect(status).to_have_text("Running and downloading, 1 job queued")
        page.click(".tabs >> text=Generate")
        expect(run).to_contain_text("Generated", timeout=JOB_TIMEOUT_MS)
        expect(status).to_have_text("Downloading, 1 job queued")
        page.click(".tabs >> text=Models")
        cancels = page.locator(".model-job").get_by_role("button", name="Cancel")
        for left in 1, 0:
            cancels.first.click()
            expect(cancels).to_have_count(left)
        expect(status).to_have_text("Ready")

    def test_resume_after_failure_and_convert(self):
        self.hub.gated, self.hub.token = True, "secret"
        self.form.get_by_label("Layout").select_option("mlx")
        self.form.get_by_label("Precision").select_option("q8")
        self.go()
        expect(self.job.get_by_role("alert")).to_contain_text("Tongyi-MAI/Z-Image-Turbo")
        self.hub.gated, self.hub.token = False, None
        self.job.get_by_role("button", name="Resume").click()
        expect(self.listed("Z-Image-Turbo-q8")).to_be_visible()


if __name__ == "__main__":
    unittest.main()
