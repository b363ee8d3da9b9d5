package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const root = "../.."

// build copies the sources to another directory, builds the programs there, and returns their
// directory.
func build(t *testing.T) string {
	t.Helper()
	sources := t.TempDir()
	list := exec.Command("git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others",
		"--exclude-standard", "--", "cmd", "internal", "rpm", "go.mod", "go.sum")
	list.Dir = root
	files, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(string(files), "\x00"), "\x00") {
		content, err := os.ReadFile(filepath.Join(root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // removed, but not yet from the index
		}
		target := filepath.Join(sources, name)
		err = errors.Join(err, os.MkdirAll(filepath.Dir(target), 0o755),
			os.WriteFile(target, content, 0o644))
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, architecture := range architectures {
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false",
			"-tags=urfave_cli_no_docs", "-ldflags=-s -w",
			"-o", filepath.Join("programs", architecture)+"/", "./cmd/palisade-nri",
			"./cmd/lxcfs", "./cmd/lxcfs/lxcfs-metrics", "./cmd/lxcfs-toolkit")
		cmd.Dir = sources
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH="+architecture)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return filepath.Join(sources, "programs")
}

func newOptions(t *testing.T, programs string) *options {
	return &options{
		version: "1.2~rc1+3", revision: "abc", created: time.Unix(1700000000, 0).UTC(),
		license: filepath.Join(root, "LICENSE"), programs: programs, out: t.TempDir(),
	}
}

// TestImage makes the image twice, from two copies of the sources.
func TestImage(t *testing.T) {
	o := newOptions(t, build(t))
	if _, err := o.write(); err != nil {
		t.Fatal(err)
	}
	t.Run("reproducible", func(t *testing.T) {
		again := newOptions(t, build(t))
		if _, err := again.write(); err != nil {
			t.Fatal(err)
		}
		compare(t, o.out, again.out)
	})
	path, err := layout.ImageIndexFromPath(filepath.Join(o.out, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	top, err := path.IndexManifest()
	if err != nil || len(top.Manifests) != 1 {
		t.Fatalf("%+v, %v", top, err)
	}
	if got := top.Manifests[0].Annotations["io.containerd.image.name"]; got !=
		"localhost/palisade-nri:1.2-rc1-3" {
		t.Errorf("name %q", got)
	}
	index, err := path.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != len(architectures) {
		t.Fatalf("%+v, %v", manifest, err)
	}
	for i, architecture := range architectures {
		t.Run(architecture, func(t *testing.T) {
			m := manifest.Manifests[i]
			if got := m.Platform.String(); got != "linux/"+architecture {
				t.Errorf("platform %s", got)
			}
			image, err := index.Image(m.Digest)
			if err != nil {
				t.Fatal(err)
			}
			checkImage(t, image, architecture)
			checkFiles(t, image)
			loaded, err := tarball.ImageFromPath(
				filepath.Join(o.out, "palisade-nri-"+architecture+".tar"), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := validate.Image(loaded); err != nil {
				t.Error(err)
			}
			config, err := image.ConfigName()
			if got, _ := loaded.ConfigName(); err != nil || got != config {
				t.Errorf("the archive has the configuration %s, the layout %s, %v", got, config, err)
			}
			checkBOM(t, filepath.Join(o.out, "palisade-nri-"+architecture+".cdx.json"), m.Digest)
		})
	}
}

// compare compares all files of two directories.
func compare(t *testing.T, dir, other string) {
	t.Helper()
	count := 0
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		count++
		one, err1 := os.ReadFile(filepath.Join(dir, name))
		two, err2 := os.ReadFile(filepath.Join(other, name))
		if err := errors.Join(err1, err2); err != nil {
			return err
		}
		if !bytes.Equal(one, two) {
			t.Errorf("%s differs", name)
		}
		return nil
	})
	if err != nil || count < 8 {
		t.Errorf("%d files compared, %v", count, err)
	}
}

// maxSize is the limit for the unpacked image, in bytes.
const maxSize = 40 << 20

func checkImage(t *testing.T, image v1.Image, architecture string) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	c := config.Config
	if config.Architecture != architecture || config.OS != "linux" || c.User != "0:0" ||
		!slices.Equal(c.Entrypoint, []string{"/usr/bin/palisade-nri"}) {
		t.Errorf("configuration %+v", config)
	}
	for key, want := range map[string]string{
		"title": "palisade-nri", "version": "1.2~rc1+3", "revision": "abc",
		"created": "2023-11-14T22:13:20Z", "licenses": "Apache-2.0",
	} {
		if got := c.Labels["org.opencontainers.image."+key]; got != want {
			t.Errorf("label %s is %q, want %q", key, got, want)
		}
	}
}

// checkFiles compares the files of the image with those that it may have.
func checkFiles(t *testing.T, image v1.Image) {
	t.Helper()
	content := mutate.Extract(image)
	defer content.Close()
	var got []string
	var size int64
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		size += header.Size
		got = append(got, header.FileInfo().Mode().String()+" "+strings.TrimSuffix(header.Name, "/"))
		if header.Uid != 0 || header.Gid != 0 || header.ModTime.Unix() != 1700000000 {
			t.Errorf("%+v", header)
		}
		if header.Name == licenseFile {
			text, err := io.ReadAll(archive)
			if err != nil || !bytes.Contains(text, []byte("\n===== github.com/containerd/nri@v")) {
				t.Errorf("licenses without that of NRI, %v", err)
			}
		}
	}
	slices.Sort(got)
	want := []string{
		"-rw-r--r-- usr/share/doc/palisade/LICENSES",
		"-rwxr-xr-x usr/bin/lxcfs", "-rwxr-xr-x usr/bin/lxcfs-metrics",
		"-rwxr-xr-x usr/bin/lxcfs-toolkit", "-rwxr-xr-x usr/bin/palisade-nri",
		"drwxr-xr-x usr", "drwxr-xr-x usr/bin", "drwxr-xr-x usr/share", "drwxr-xr-x usr/share/doc",
		"drwxr-xr-x usr/share/doc/palisade",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got files\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if size > maxSize {
		t.Errorf("%d bytes, want at most %d", size, maxSize)
	}
}

func checkBOM(t *testing.T, path string, digest v1.Hash) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(f, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if hashes := *bom.Metadata.Component.Hashes; hashes[0].Value != digest.Hex {
		t.Errorf("list of %s, want %s", hashes[0].Value, digest.Hex)
	}
	var components []string
	for _, c := range *bom.Components {
		components = append(components, c.Name)
	}
	for _, want := range append([]string{"std", "github.com/containerd/nri"}, names...) {
		if !slices.Contains(components, want) {
			t.Errorf("%s is not in the list %q", want, components)
		}
	}
}

// TestWrongPrograms makes images of what is not a static program of the architecture.
func TestWrongPrograms(t *testing.T) {
	arm64 := filepath.Join(t.TempDir(), "arm64")
	cmd := exec.Command("go", "build", "-o", arm64, "./testdata/hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=arm64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	pie := filepath.Join(t.TempDir(), "pie")
	cmd = exec.Command("go", "build", "-buildmode=pie", "-o", pie, "./testdata/hello")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for path, want := range map[string]string{
		arm64: "lxcfs is for linux/arm64, want linux/amd64", pie: "lxcfs: the program is not static",
		"main.go": "lxcfs: ", "none": "lxcfs: no such file",
	} {
		programs := t.TempDir()
		target := filepath.Join(programs, "amd64/lxcfs")
		if err := os.Mkdir(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if content, err := os.ReadFile(path); err == nil {
			if err := os.WriteFile(target, content, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		_, err := newOptions(t, programs).write()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", filepath.Base(path), err, want)
		}
	}
}
