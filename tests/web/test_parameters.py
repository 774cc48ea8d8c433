"""Controls made from the table of generation parameters, and their values."""

import json
import os
import shutil
import subprocess
import unittest
import urllib.request

from support import DATA, RED, ZIMAGE_MORE, PageCase, expect, poll

SMALL = os.path.join(DATA, "golden", "model")


class Parameters(PageCase):
    def rows(self):
        return self.get("api/config")["parameters"]

    def latest_job(self):
        return self.get("api/jobs")["jobs"][0]

    def get(self, path):
        with urllib.request.urlopen(self.server.url + path) as answer:
            return json.load(answer)

    def generate_by_api(self, **params):
        """Generates an image through the API, and waits until the page shows it."""
        body = json.dumps({"kind": "generate", "params": dict(
            {"prompt": RED, "model": "demo", "width": 64, "height": 64, "seed": "9", "steps": 1}, **params)}).encode()
        with urllib.request.urlopen(urllib.request.Request(
                self.server.url + "api/jobs", body, {"Content-Type": "application/json"})) as answer:
            job = json.load(answer)["id"]
        images = poll(self.page, lambda: self.get(f"api/jobs/{job}")["images"], lambda: self.get(f"api/jobs/{job}"))
        expect(self.page.locator("#run")).to_have_attribute("data-mode", f"image {images[0]}")
        expect(self.page.locator("#status")).to_have_text("Ready")

    def slider(self, name):
        return self.page.eval_on_selector(f"#{name}", "({min, max, step, value}) => ({min, max, step, value})")


class Controls(Parameters):
    def test_controls_match_the_table(self):
        for row in self.rows():
            name, place = row["name"], row["place"]
            self.assertEqual(self.page.locator(f"#controls-{place} #{name}").count(), 1 if place else 0, name)
            if not place:
                continue
            expect(self.page.locator(f"label[for={name}]")).to_have_text(row["label"])
            described = self.page.get_attribute(f"#{name}", "aria-describedby").split()
            self.assertEqual(described, [f"{name}-error"] + ([f"{name}-note"] if row["note"] else []))
            for id_ in described:
                self.assertEqual(self.page.locator(f"#{id_}").count(), 1, id_)
            if row["step"]:
                self.assertEqual(self.slider(name), {key: f"{row[field]:g}" for key, field in (
                    ("min", "low"), ("max", "high"), ("step", "step"), ("value", "default"))})
            if row["choices"]:
                self.assertEqual(self.page.locator(f"#{name} option").all_text_contents(), row["choices"])

    def test_limits_of_fixed_fields(self):
        rows = {row["name"]: row for row in self.rows()}
        for name in "width", "height", "count":
            limits = [self.page.get_attribute(f"#{name}", key) for key in ("min", "max", "step")]
            self.assertEqual(limits, [str(rows[name]["min"]), str(rows[name]["max"]), str(rows[name]["multiple"] or 1)])

    def test_form_needs_no_request(self):
        self.assertNotIn("/api/config", " ".join(self.requests))

    def test_values_outside_the_usual_range(self):
        """A slider's range is extended to include the value, which is sent unchanged."""
        self.generate_by_api(steps=30, shift=15, guidance=12.5)
        self.page.click("#run >> text=Use these settings")
        self.assertEqual([self.slider(name)["max"] for name in ("steps", "shift", "guidance")], ["30", "15", "12.5"])
        for name, text in ("steps", "30"), ("shift", "15.0"), ("guidance", "12.5"):
            expect(self.page.locator(f"#{name}-value")).to_have_text(text)
        self.generate()
        self.assertEqual([self.latest_job()["params"][name] for name in ("steps", "shift", "guidance")], [30, 15, 12.5])
        self.page.reload()
        self.wait_until_loaded(self.page)
        self.assertEqual(self.slider("steps"), {"min": "1", "max": "30", "step": "1", "value": "30"})
        self.generate_by_api(steps=5, shift=0.5, seed="10")
        self.page.click("#run >> text=Use these settings")
        self.assertEqual(self.slider("steps"), {"min": "1", "max": "20", "step": "1", "value": "5"})
        self.assertEqual(self.slider("shift"), {"min": "0.5", "max": "10", "step": "0.1", "value": "0.5"})
        expect(self.page.locator("#guidance-value")).to_have_text("off")

    def test_values_between_steps(self):
        self.generate_by_api(shift=3.25)
        self.page.click("#run >> text=Use these settings")
        expect(self.page.locator("#shift-value")).to_have_text("3.25")
        self.generate()
        self.assertEqual(self.latest_job()["params"]["shift"], 3.25)
        self.page.focus("#shift")
        self.page.keyboard.press("ArrowRight")
        self.assertEqual(self.slider("shift")["step"], "0.1")
        self.page.keyboard.press("End")
        expect(self.page.locator("#shift-value")).to_have_text("10.0")

    def test_properties_of_an_image(self):
        self.generate_by_api(negative="green", guidance=2, schedule="mlx", seed="77", original="a circle")
        facts = self.page.eval_on_selector_all(
            "#result .property", "nodes => nodes.map(node => [...node.children].map(child => child.textContent))")
        self.assertEqual(facts[:-1], [
            ["Prompt", RED], ["Original prompt", "a circle"], ["Model", "demo-model"], ["Size", "64 × 64"], ["Steps", "1"],
            ["Seed", "77"], ["Shift", "3"], ["Guidance scale", "2"], ["Negative prompt", "green"], ["Schedule", "mlx"]])


class Base(Parameters):
    """Steps, guidance and shift follow the defaults of the selected model, until the user changes them."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = os.path.join(cls.server.models, "pytorch", "base")
        shutil.copytree(SMALL, folder)
        subprocess.run(["chmod", "-R", "u+w", folder], check=True)
        config = os.path.join(folder, "scheduler", "scheduler_config.json")
        with open(config, encoding="utf-8") as file:
            fields = json.load(file)
        with open(config, "w", encoding="utf-8") as file:
            json.dump(dict(fields, shift=6), file)

    def expect_shown(self, *values):
        """A model in the list may not be inspected yet: its defaults come with the next list."""
        for name, value in zip(("steps", "guidance", "shift"), values, strict=True):
            expect(self.page.locator(f"#{name}-value")).to_have_text(value)

    def select(self, model):
        expect(self.page.locator(f"#model option[value='{model}']")).to_have_count(1)
        self.page.select_option("#model", model)

    def test_defaults_follow_the_model(self):
        self.select("demo")
        self.expect_shown("9", "off", "3.0")
        self.select("pytorch/base")
        self.expect_shown("28", "4.0", "6.0")
        self.select("demo")
        self.expect_shown("9", "off", "3.0")
        self.page.fill("#steps", "12")
        self.select("pytorch/base")
        self.expect_shown("12", "4.0", "6.0")
        self.page.reload()
        self.wait_until_loaded(self.page)
        self.expect_shown("12", "4.0", "6.0")
        self.select("demo")
        self.expect_shown("12", "off", "3.0")

    def test_settings_of_an_image(self):
        self.select("pytorch/base")
        self.generate_by_api(steps=28, shift=6)  # by the demo model
        self.page.click("#run >> text=Use these settings")
        self.assertEqual(self.page.input_value("#model"), "demo")
        self.expect_shown("28", "off", "6.0")


class More(Parameters):
    """The page of a program whose table has additional rows, of all types."""

    program = ZIMAGE_MORE

    def test_control_of_an_additional_row(self):
        expect(self.page.locator("#controls-main .field")).to_have_count(3)
        expect(self.page.get_by_label("Test steps")).to_have_attribute("type", "range")
        expect(self.page.locator("#test_steps-note")).to_have_text("A note on test steps.")
        self.page.fill("#test_steps", "3")
        expect(self.page.locator("#test_steps-value")).to_have_text("3")
        self.generate()
        job = self.latest_job()
        self.assertEqual((job["params"]["test_steps"], job["progress"]["steps"]), (3, 3))
        self.page.reload()
        self.wait_until_loaded(self.page)
        self.assertEqual(self.page.input_value("#test_steps"), "3")

    def test_other_types(self):
        self.page.click("#more summary")
        self.page.fill("#prompt", RED)
        for value in "21", "0.1":
            self.page.fill("#test_number", value)
            self.page.click("#generate")
            expect(self.page.locator("#test_number-error")).to_have_text("Test number must be a number from 0.5 to 20.")
            expect(self.page.locator("#test_number")).to_be_focused()
        self.page.fill("#test_number", "4.25")
        self.page.fill("#test_path", "x" * 201)  # an error of the server
        self.page.click("#generate")
        expect(self.page.locator("#test_path-error")).to_have_text("test_path: has 201 bytes, but at most 200 are possible; shorten it")
        self.page.fill("#test_path", "trace.safetensors")
        self.page.check("#test_flag")
        self.generate()
        params = self.latest_job()["params"]
        self.assertEqual([params[name] for name in ("test_number", "test_path", "test_flag")],
                         [4.25, "trace.safetensors", True])
        self.page.reload()
        self.wait_until_loaded(self.page)
        self.assertTrue(self.page.is_checked("#test_flag"))
        self.assertEqual(self.page.input_value("#test_number"), "4.25")
        self.page.click("#more summary")
        self.page.fill("#test_number", "")
        self.page.fill("#test_path", "")
        self.generate()
        params = self.latest_job()["params"]
        self.assertEqual((params["test_number"], params["test_path"]), (None, None))


if __name__ == "__main__":
    unittest.main()
