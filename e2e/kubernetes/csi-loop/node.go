package main

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	register "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// Where kubelet looks for plugins.
const (
	plugins  = "/var/lib/kubelet/plugins"
	registry = "/var/lib/kubelet/plugins_registry"
)

// node mounts and enlarges the volumes of one worker.
type node struct {
	csi.UnimplementedNodeServer
	name, disk string
}

// runNode serves the driver, and on a second socket its registration, which is node-driver-registrar's task elsewhere.
func runNode(volumes *node) error {
	socket := filepath.Join(plugins, driver, "csi.sock")
	listener, err := listen(socket)
	if err != nil {
		return err
	}
	grpc := server()
	csi.RegisterIdentityServer(grpc, identity{})
	csi.RegisterNodeServer(grpc, volumes)
	ended := make(chan error)
	go func() { ended <- grpc.Serve(listener) }()

	// kubelet calls as soon as it sees this one.
	found, err := listen(filepath.Join(registry, driver+"-reg.sock"))
	if err != nil {
		return err
	}
	registration := server()
	register.RegisterRegistrationServer(registration, &registrar{endpoint: socket})
	go func() { ended <- registration.Serve(found) }()
	return <-ended
}

// registrar tells kubelet of the driver.
type registrar struct {
	register.UnimplementedRegistrationServer
	endpoint string
}

func (r *registrar) GetInfo(context.Context, *register.InfoRequest) (*register.PluginInfo, error) {
	return &register.PluginInfo{
		Type: register.CSIPlugin, Name: driver, Endpoint: r.endpoint, SupportedVersions: []string{"1.0.0"},
	}, nil
}

func (r *registrar) NotifyRegistrationStatus(
	_ context.Context, told *register.RegistrationStatus,
) (*register.RegistrationStatusResponse, error) {
	// Where it failed kubelet asks again.
	log.Printf("registered: %v %s", told.GetPluginRegistered(), told.GetError())
	return &register.RegistrationStatusResponse{}, nil
}

func (n *node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	here := &csi.Topology{Segments: map[string]string{topology: n.name}}
	return &csi.NodeGetInfoResponse{NodeId: n.name, AccessibleTopology: here}, nil
}

func (n *node) NodeGetCapabilities(
	context.Context, *csi.NodeGetCapabilitiesRequest,
) (*csi.NodeGetCapabilitiesResponse, error) {
	can := func(what csi.NodeServiceCapability_RPC_Type) *csi.NodeServiceCapability {
		call := &csi.NodeServiceCapability_RPC{Type: what}
		return &csi.NodeServiceCapability{Type: &csi.NodeServiceCapability_Rpc{Rpc: call}}
	}
	return &csi.NodeGetCapabilitiesResponse{Capabilities: []*csi.NodeServiceCapability{
		can(csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME),
		can(csi.NodeServiceCapability_RPC_EXPAND_VOLUME),
	}}, nil
}

// NodeStageVolume mounts the file. The loop device is the mount's own: it goes with the last mount of it, also with those of a
// machine whose processes have all been killed.
func (n *node) NodeStageVolume(
	ctx context.Context, request *csi.NodeStageVolumeRequest,
) (*csi.NodeStageVolumeResponse, error) {
	worker, name, _ := strings.Cut(request.GetVolumeId(), "/")
	if worker != n.name {
		return nil, status.Errorf(codes.NotFound, "%s isn't here", request.GetVolumeId())
	}
	file, err := fileOf(n.disk, name)
	if err != nil {
		return nil, err
	}
	flags := append([]string{"loop"}, request.GetVolumeCapability().GetMount().GetMountFlags()...)
	options := strings.Join(flags, ",")
	if err := mount(ctx, file, request.GetStagingTargetPath(), "--types", "xfs", "--options", options); err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

func (n *node) NodePublishVolume(
	ctx context.Context, request *csi.NodePublishVolumeRequest,
) (*csi.NodePublishVolumeResponse, error) {
	options := "bind"
	if request.GetReadonly() {
		options += ",ro"
	}
	if err := mount(ctx, request.GetStagingTargetPath(), request.GetTargetPath(), "--options", options); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *node) NodeUnpublishVolume(
	ctx context.Context, request *csi.NodeUnpublishVolumeRequest,
) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := unmount(ctx, request.GetTargetPath()); err != nil {
		return nil, err
	}
	if err := os.Remove(request.GetTargetPath()); err != nil && !os.IsNotExist(err) {
		return nil, status.Error(codes.Internal, err.Error())
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

func (n *node) NodeUnstageVolume(
	ctx context.Context, request *csi.NodeUnstageVolumeRequest,
) (*csi.NodeUnstageVolumeResponse, error) {
	if err := unmount(ctx, request.GetStagingTargetPath()); err != nil {
		return nil, err
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// NodeExpandVolume lets the device take note of the file's length, and the filesystem of the device's, while both are used.
func (n *node) NodeExpandVolume(
	ctx context.Context, request *csi.NodeExpandVolumeRequest,
) (*csi.NodeExpandVolumeResponse, error) {
	device := mounted(ctx, request.GetVolumePath())
	if device == "" {
		// Not that there is no such volume: kubelet would take it for one that can't ever grow.
		return nil, status.Errorf(codes.Unavailable, "nothing is mounted at %s", request.GetVolumePath())
	}
	if _, err := tool(ctx, "losetup", "--set-capacity", device); err != nil {
		return nil, err
	}
	if _, err := tool(ctx, "xfs_growfs", "-d", request.GetVolumePath()); err != nil {
		return nil, err
	}
	log.Printf("%s is as large as its file now", request.GetVolumeId())
	return &csi.NodeExpandVolumeResponse{CapacityBytes: request.GetCapacityRange().GetRequiredBytes()}, nil
}

// mount mounts something, where nothing is mounted yet.
func mount(ctx context.Context, what, where string, options ...string) error {
	if mounted(ctx, where) != "" {
		return nil
	}
	if err := os.MkdirAll(where, 0o750); err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	_, err := tool(ctx, "mount", append(options, what, where)...)
	return err
}

func unmount(ctx context.Context, where string) error {
	if mounted(ctx, where) == "" {
		return nil
	}
	_, err := tool(ctx, "umount", where)
	return err
}

// mounted is the device that is mounted at a path; empty if none is.
func mounted(ctx context.Context, path string) string {
	device, err := tool(ctx, "findmnt", "--noheadings", "--output", "SOURCE", "--mountpoint", path)
	if err != nil {
		return ""
	}
	return device
}
