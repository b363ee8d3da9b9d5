// Command image makes the container image of palisade-nri without an engine: an OCI image layout
// for amd64 and arm64, an archive for docker load of each, and lists of what they contain
// (CycloneDX). The same programs give the same bytes.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// repository is the name of the image. No registry but one on the node itself can serve it, so a
// node that lacks the image never gets another one of that name.
const repository = "localhost/palisade-nri"

var architectures = []string{"amd64", "arm64"}

// options describe an image.
type options struct {
	version  string
	revision string
	created  time.Time
	// programs has a directory of programs for each architecture.
	programs string
	license  string
	out      string
}

func main() {
	var o options
	var created int64
	flag.StringVar(&o.version, "version", "", "`version` of the programs")
	flag.StringVar(&o.revision, "revision", "", "`commit` of the sources")
	flag.Int64Var(&created, "created", 0, "time of the commit, in `seconds` since 1970")
	flag.StringVar(&o.programs, "programs", "", "`directory` with amd64/PROGRAM and arm64/PROGRAM")
	flag.StringVar(&o.license, "license", "", "`file` with the license of the project")
	flag.StringVar(&o.out, "out", "", "`directory` to write to")
	flag.Parse()
	o.created = time.Unix(created, 0).UTC()
	if o.version == "" || o.programs == "" || o.license == "" || o.out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	digest, err := o.write()
	if err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
	fmt.Printf("%s:%s@%s\n", repository, o.tag(), digest)
}

var notInTag = regexp.MustCompile(`[^\w.-]`)

// tag returns the version with the characters that a tag may have.
func (o *options) tag() string {
	return notInTag.ReplaceAllString(o.version, "-")
}

// write writes all files, and returns the digest of the index, which names both images.
func (o *options) write() (v1.Hash, error) {
	tag, err := name.NewTag(repository + ":" + o.tag())
	if err != nil {
		return v1.Hash{}, err
	}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range architectures {
		programs, err := openPrograms(filepath.Join(o.programs, architecture), architecture)
		if err != nil {
			return v1.Hash{}, err
		}
		image, err := o.image(programs, architecture)
		if err != nil {
			return v1.Hash{}, fmt.Errorf("make the image for %s: %w", architecture, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
		archive := filepath.Join(o.out, "palisade-nri-"+architecture+".tar")
		if err := tarball.WriteToFile(archive, tag, image); err != nil {
			return v1.Hash{}, fmt.Errorf("write %s: %w", archive, err)
		}
		list := filepath.Join(o.out, "palisade-nri-"+architecture+".cdx.json")
		if err := o.writeBOM(list, programs, image); err != nil {
			return v1.Hash{}, fmt.Errorf("write %s: %w", list, err)
		}
	}
	index = mutate.Annotations(index, o.labels()).(v1.ImageIndex)
	if err := writeLayout(filepath.Join(o.out, "oci"), index, tag); err != nil {
		return v1.Hash{}, err
	}
	return index.Digest()
}

// writeLayout replaces the layout in the directory, and reads it again.
func writeLayout(dir string, index v1.ImageIndex, tag name.Tag) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	path, err := layout.Write(dir, mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	if err != nil {
		return fmt.Errorf("write the layout: %w", err)
	}
	err = path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": tag.TagStr(),
		"io.containerd.image.name":          tag.Name(),
	}))
	if err != nil {
		return fmt.Errorf("write the layout: %w", err)
	}
	written, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return err
	}
	return validate.Index(written)
}

// labels returns the annotations of the OCI image specification.
func (o *options) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "palisade-nri",
		"org.opencontainers.image.description": "gives the containers of Kubernetes the files of lxcfs",
		"org.opencontainers.image.version":     o.version,
		"org.opencontainers.image.revision":    o.revision,
		"org.opencontainers.image.created":     o.created.Format(time.RFC3339),
		"org.opencontainers.image.licenses":    "Apache-2.0",
	}
}

// image returns the image of the programs, which has one layer.
func (o *options) image(programs []program, architecture string) (v1.Image, error) {
	texts, err := licenses(programs, o.license)
	if err != nil {
		return nil, err
	}
	layer, err := o.layer(programs, texts)
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(
		mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: o.created}, CreatedBy: "palisade/tools/image"},
	})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", architecture
	config.Created = v1.Time{Time: o.created}
	config.Config = v1.Config{
		Entrypoint: []string{"/" + programDir + "/palisade-nri"}, User: "0:0", WorkingDir: "/",
		Env: []string{"PATH=/" + programDir}, Labels: o.labels(),
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, err
	}
	return mutate.Annotations(image, o.labels()).(v1.Image), nil
}
