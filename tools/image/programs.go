package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/buildinfo"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// programDir is the directory of the programs in the image. They are in one, where lxcfs finds
// lxcfs-metrics.
const programDir = "usr/bin"

// names are the programs: the agent, and those that it installs on a node.
var names = []string{"lxcfs", "lxcfs-metrics", "lxcfs-toolkit", "palisade-nri"}

// program is a program of the image.
type program struct {
	name    string
	content []byte
	info    *buildinfo.BuildInfo
}

// openPrograms reads the programs. It returns an error if one needs a dynamic linker, or is for
// another architecture.
func openPrograms(dir, architecture string) ([]program, error) {
	var programs []program
	for _, name := range names {
		file := filepath.Join(dir, name)
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		info, err := buildinfo.Read(bytes.NewReader(content))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		settings := make(map[string]string)
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if settings["GOARCH"] != architecture || settings["GOOS"] != "linux" {
			return nil, fmt.Errorf("%s is for %s/%s, want linux/%s",
				file, settings["GOOS"], settings["GOARCH"], architecture)
		}
		if err := checkStatic(content); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		programs = append(programs, program{name, content, info})
	}
	return programs, nil
}

func checkStatic(content []byte) error {
	f, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("the program is not static")
		}
	}
	return nil
}

// layer returns the layer with the programs and the licenses.
func (o *options) layer(programs []program, licenses []byte) (v1.Layer, error) {
	files := map[string][]byte{licenseFile: licenses}
	for _, p := range programs {
		files[programDir+"/"+p.name] = p.content
	}
	for name := range maps.Clone(files) {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			files[dir+"/"] = nil
		}
	}
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		header := &tar.Header{
			Name: name, Mode: 0o755, Size: int64(len(files[name])), ModTime: o.created,
			Format: tar.FormatUSTAR,
		}
		if name == licenseFile {
			header.Mode = 0o644
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(files[name]); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(archive.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(gzip.BestCompression),
		tarball.WithCompressedCaching)
}

// goVersion returns the version of Go's standard library that the program has, without "go".
func (p *program) goVersion() string {
	version, _, _ := strings.Cut(strings.TrimPrefix(p.info.GoVersion, "go"), " ")
	return version
}
