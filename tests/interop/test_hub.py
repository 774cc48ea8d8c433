"""The cache that zimage download writes, read by huggingface_hub, and the other way round. Needs huggingface_hub
and ZIMAGE, the path of the built program:

    ZIMAGE=build/zimage python3 -m unittest discover -s tests/interop
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import huggingface_hub

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "cli"))
from hub import Hub  # noqa: E402

MODEL = pathlib.Path(os.path.abspath(os.environ["ZI_TEST_DATA"]), "golden", "model")
ZIMAGE = os.path.abspath(os.environ["ZIMAGE"])
REPO = "Tongyi-MAI/Z-Image-Turbo"


class Cache(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="zimage-test-")
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.cache = self.dir / "hub"
        self.hub = Hub()
        self.addCleanup(self.hub.close)
        self.files = {str(path.relative_to(MODEL)): path.read_bytes()
                      for path in MODEL.rglob("*") if path.is_file()}
        self.repo = self.hub.add(REPO, self.files)
        self.env = {**os.environ, "HF_ENDPOINT": self.hub.url, "HF_HUB_CACHE": str(self.cache),
                    "HF_HOME": str(self.dir)}

    def zimage(self, *words, **env):
        result = subprocess.run([ZIMAGE, *words], cwd=self.dir, env={**self.env, **env}, check=True,
                                capture_output=True, text=True)
        return result.stdout.strip()

    def snapshot(self, **words):
        return huggingface_hub.snapshot_download(REPO, cache_dir=self.cache, endpoint=self.hub.url,
                                                 token=False, **words)

    def check(self, folder):
        for name, data in self.files.items():
            self.assertEqual(pathlib.Path(folder, name).read_bytes(), data, name)

    def test_ours_is_read(self):
        folder = self.zimage("download")
        info = huggingface_hub.scan_cache_dir(self.cache)
        self.assertEqual(list(info.warnings), [])
        (repo,) = info.repos
        (revision,) = repo.revisions
        self.assertEqual((repo.repo_id, revision.commit_hash, revision.refs),
                         (REPO, self.repo.commit, frozenset({"main"})))
        self.assertEqual({str(file.file_path.relative_to(revision.snapshot_path))
                          for file in revision.files}, set(self.files))
        self.assertEqual(repo.size_on_disk, sum(map(len, self.files.values())))
        asked = len(self.hub.requests)
        offline = self.snapshot(local_files_only=True)
        self.assertTrue(os.path.samefile(offline, folder))
        self.check(offline)
        self.assertEqual(len(self.hub.requests), asked)
        # Online, too, it finds nothing to fetch.
        sent = self.hub.sent()
        self.check(self.snapshot())
        self.assertEqual(self.hub.sent(), sent)
        # And what it removes is gone for us.
        info.delete_revisions(self.repo.commit).execute()
        found = subprocess.run([ZIMAGE, "download"], env={**self.env, "HF_HUB_OFFLINE": "1"},
                               capture_output=True)
        self.assertEqual(found.returncode, 1)

    def test_theirs_is_read(self):
        folder = self.snapshot()
        sent = self.hub.sent()
        self.assertGreater(sent, 0)
        self.assertTrue(os.path.samefile(self.zimage("download"), folder))
        self.assertEqual(self.hub.sent(), sent)
        self.assertTrue(os.path.samefile(self.zimage("download", HF_HUB_OFFLINE="1"), folder))
        self.zimage("generate", "-m", REPO, "-p", "x", "-s1", "-W64", "-H64", "-o", "out.png")
        self.assertIn(REPO, self.zimage("models"))

    def test_theirs_is_completed(self):
        """What it has fetched of a snapshot is not fetched again."""
        self.snapshot(allow_patterns=["vae/*", "*.json"])
        sent, there = self.hub.sent(), {row["path"] for row in self.hub.requests if row["cdn"]}
        self.check(self.zimage("download"))
        self.assertEqual(self.hub.sent(), sum(map(len, self.files.values())))
        later = [row["path"] for row in self.hub.requests if row["cdn"]][len(there):]
        self.assertFalse(there & set(later))
        self.assertLess(sent, self.hub.sent())

    def test_a_local_folder(self):
        self.zimage("download", "--local-dir", "here")
        sent = self.hub.sent()
        self.check(self.snapshot(local_dir=self.dir / "here"))
        self.assertEqual(self.hub.sent(), sent)


if __name__ == "__main__":
    unittest.main()
