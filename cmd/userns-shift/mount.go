package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/urfave/cli/v2"

	"palisade/internal/cli/cmdline"
	"palisade/internal/linux/sys"
	"palisade/internal/oci/idmap"
	"palisade/internal/userns/idmount"
	"palisade/internal/userns/remap"
	"palisade/internal/userns/shift"
)

func mountCommand(stderr io.Writer) *cli.Command {
	var maps mapOptions
	var work workOptions
	var fallback string
	return &cli.Command{
		Name:      "mount",
		Usage:     "make an idmapped mount of the tree SRC on the directory DST (Linux 5.12)",
		UsageText: "userns-shift mount --user-remap UID:GID:OFFSET [OPTIONS] SRC DST",
		Flags: slices.Concat(maps.flags(autoUsage),
			[]cli.Flag{&cli.StringFlag{Name: "fallback", Value: "none", Destination: &fallback,
				Usage: "if SRC cannot be idmapped, or other users can reach it: " +
					"fail (none), or shift SRC and bind mount it on DST (shift)"}}, work.flags()),
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() != 2 {
				return cmdline.Usagef("want SRC and DST, not %d arguments", ctx.NArg())
			}
			if err := choose("fallback", fallback, "none", "shift"); err != nil {
				return err
			}
			return maps.withMaps(ctx, true, func(pair idmap.Pair) error {
				if err := maps.complete(ctx, &work); err != nil {
					return err
				}
				src, dst := ctx.Args().Get(0), ctx.Args().Get(1)
				var err error
				if maps.isAuto {
					if pair, err = shift.ChooseMaps(ctx.Context, src, work.Options); err != nil {
						return err
					}
				}
				err = mountMapped(ctx.Context, src, dst, pair, work.Options)
				if fallback == "none" || !idmount.CanShift(err) {
					return err
				}
				fmt.Fprintf(stderr, "%s: warning: %v; shifting instead\n", program, err)
				if _, err := shift.Shift(ctx.Context, src, pair, work.Options); err != nil {
					return err
				}
				return idmount.Bind(src, dst)
			})
		},
	}
}

// mountMapped makes an idmapped mount of a tree, unless the tree is shifted already.
func mountMapped(
	ctx context.Context, src, dst string, pair idmap.Pair, o shift.Options,
) error {
	isMapped, err := idmount.IsMapped(src)
	if err != nil {
		return err
	}
	shifted := pair
	if uid, _, _ := pair.Root(); isMapped || uid == 0 {
		shifted = idmap.Pair{} // the owner does not show whether the tree is shifted
	}
	if err := remap.CheckUnshifted(src, shifted, o); err != nil {
		return err
	}
	return idmount.Mount(src, dst, pair, func(dir sys.File) error {
		return shift.CheckLinks(ctx, dir, o)
	})
}

func umountCommand() *cli.Command {
	return &cli.Command{
		Name:      "umount",
		Usage:     "unmount DST, which must be an idmapped mount; running containers keep it",
		UsageText: "userns-shift umount DST",
		Action: func(ctx *cli.Context) error {
			if ctx.NArg() != 1 {
				return cmdline.Usagef("want DST, not %d arguments", ctx.NArg())
			}
			return idmount.Unmount(ctx.Args().First())
		},
	}
}
