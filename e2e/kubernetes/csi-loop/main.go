// A CSI driver for the local cluster, whose volumes grow while they are used: each is a file on the disk of one worker, with
// an XFS in it that is mounted there through a loop device. (To let ext4 grow takes CAP_SYS_RESOURCE, which not every root has.)
//
//	csi-loop controller --socket PATH --kubeconfig PATH --disk worker-1=FOLDER [--disk worker-2=FOLDER ...]
//	csi-loop node --name worker-1 --disk FOLDER
//
// `node` runs on each worker, beside its kubelet; `controller` once, on the host, where all workers' disks are folders. It
// makes and deletes volumes as external-provisioner does, with that one's library; external-resizer asks it to let them grow.
// It is in Go as all that it is made of: the protocol, kubelet's registration, the library.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	driver = "loop.weft.dev"
	// A volume is where its worker is. The operator, too, knows a local volume's Node by this label.
	topology = "kubernetes.io/hostname"
)

func main() {
	log.SetFlags(log.Ltime)
	if err := run(os.Args[1:]); err != nil {
		log.Fatalf("csi-loop: %v", err)
	}
}

func run(arguments []string) error {
	if len(arguments) == 0 {
		return errors.New("say `controller` or `node`")
	}
	flags := flag.NewFlagSet(arguments[0], flag.ContinueOnError)
	switch arguments[0] {
	case "controller":
		socket := flags.String("socket", "", "where to serve CSI's controller")
		kubeconfig := flags.String("kubeconfig", "", "of somebody who may make and delete volumes")
		disks := map[string]string{}
		flags.Func("disk", "a worker's name, `=`, and the folder of its volumes", func(text string) error {
			worker, folder, found := strings.Cut(text, "=")
			if !found {
				return fmt.Errorf("no worker in %q", text)
			}
			disks[worker] = folder
			return nil
		})
		if err := flags.Parse(arguments[1:]); err != nil {
			return err
		}
		return runController(&controller{disks: disks}, *socket, *kubeconfig)
	case "node":
		name := flags.String("name", "", "the Node's name")
		disk := flags.String("disk", "", "the folder of its volumes")
		if err := flags.Parse(arguments[1:]); err != nil {
			return err
		}
		return runNode(&node{name: *name, disk: *disk})
	default:
		return fmt.Errorf("no such part: %q", arguments[0])
	}
}

// identity is what both parts say of themselves.
type identity struct {
	csi.UnimplementedIdentityServer
}

func (identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: driver, VendorVersion: "1"}, nil
}

func (identity) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

func (identity) GetPluginCapabilities(
	context.Context, *csi.GetPluginCapabilitiesRequest,
) (*csi.GetPluginCapabilitiesResponse, error) {
	service := func(kind csi.PluginCapability_Service_Type) *csi.PluginCapability {
		has := &csi.PluginCapability_Service{Type: kind}
		return &csi.PluginCapability{Type: &csi.PluginCapability_Service_{Service: has}}
	}
	online := &csi.PluginCapability_VolumeExpansion{Type: csi.PluginCapability_VolumeExpansion_ONLINE}
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		service(csi.PluginCapability_Service_CONTROLLER_SERVICE),
		service(csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS),
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: online}},
	}}, nil
}

// server answers calls, and says in the log which ones it couldn't do.
func server() *grpc.Server {
	return grpc.NewServer(grpc.UnaryInterceptor(func(
		ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler,
	) (any, error) {
		answer, err := handle(ctx, request)
		if err != nil {
			log.Printf("%s: %v", info.FullMethod, err)
		}
		return answer, err
	}))
}

// listen makes a socket in place of one that an earlier process has left.
func listen(socket string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(socket), 0o750); err != nil {
		return nil, err
	}
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	return net.Listen("unix", socket)
}

// fileOf is a volume's file. A volume is called after its worker and its PersistentVolume: `worker-1/pvc-…`.
func fileOf(disk, name string) (string, error) {
	if name == "" || name != filepath.Base(name) {
		return "", status.Errorf(codes.InvalidArgument, "no volume can be called %q", name)
	}
	return filepath.Join(disk, name+".img"), nil
}

// tool runs a program of the system, and gives what it printed.
func tool(ctx context.Context, program string, arguments ...string) (string, error) {
	output, err := exec.CommandContext(ctx, program, arguments...).CombinedOutput()
	text := strings.TrimSpace(string(output))
	if err != nil {
		return text, status.Errorf(codes.Internal, "%s %s: %v: %s", program, strings.Join(arguments, " "), err, text)
	}
	return text, nil
}
