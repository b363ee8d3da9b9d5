package main

import (
	"cmp"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// writeBOM writes the list of the programs, the modules in each, and Go's standard library, as the
// programs themselves name them.
func (o *options) writeBOM(path string, programs []program, image v1.Image) error {
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := encodeBOM(f, o, programs, digest); err != nil {
		return err
	}
	return f.Close()
}

func encodeBOM(w io.Writer, o *options, programs []program, digest v1.Hash) error {
	root := cdx.Component{
		BOMRef: "image", Type: cdx.ComponentTypeContainer, Name: "palisade-nri", Version: o.version,
		Hashes: sha256Of(digest.Hex),
	}
	libraries := make(map[string]cdx.Component)
	var components []cdx.Component
	var dependencies []cdx.Dependency
	var own []string
	for _, p := range programs {
		sum := sha256.Sum256(p.content)
		components = append(components, cdx.Component{
			BOMRef: p.name, Type: cdx.ComponentTypeApplication, Name: p.name, Version: o.version,
			Hashes: sha256Of(fmt.Sprintf("%x", sum)),
		})
		own = append(own, p.name)
		var uses []string
		for _, m := range append(p.info.Deps, &debug.Module{Path: "std", Version: p.goVersion()}) {
			m = cmp.Or(m.Replace, m)
			// A plus is a space in the package URLs of older parsers.
			url := "pkg:golang/" + m.Path + "@" + strings.ReplaceAll(m.Version, "+", "%2B")
			libraries[url] = cdx.Component{
				BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version,
				PackageURL: url,
			}
			uses = append(uses, url)
		}
		dependencies = append(dependencies, cdx.Dependency{Ref: p.name, Dependencies: &uses})
	}
	dependencies = append(dependencies, cdx.Dependency{Ref: root.BOMRef, Dependencies: &own})
	for _, url := range slices.Sorted(maps.Keys(libraries)) {
		components = append(components, libraries[url])
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: o.created.Format(time.RFC3339), Component: &root}
	bom.Components, bom.Dependencies = &components, &dependencies
	return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).
		EncodeVersion(bom, cdx.SpecVersion1_6)
}

func sha256Of(hex string) *[]cdx.Hash {
	return &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex}}
}
