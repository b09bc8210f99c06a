package auth

import (
	"fmt"

	"google.golang.org/grpc"
)

// Registrar returns a registrar that stands before srv and refuses services with
// methods that no interceptor would see. grpc-go runs a grpc.StreamDesc with
// neither ClientStreams nor ServerStreams set past all interceptors, and its
// GetServiceInfo does not tell such a method from a unary one, so that Covers
// cannot find it. Generated code never has one; a descriptor made by hand may:
//
//	chatpb.RegisterChatServer(auth.Registrar(srv), service)
//
// Like grpc.Server.RegisterService, it panics where a service can't be
// registered: a slip of the program's, which shows when it starts.
//
// The handler of a grpc.MethodDesc made by hand must call the interceptor that
// it is given; nothing can check that.
func Registrar(srv grpc.ServiceRegistrar) grpc.ServiceRegistrar { return registrar{srv} }

type registrar struct{ grpc.ServiceRegistrar }

func (r registrar) RegisterService(desc *grpc.ServiceDesc, impl any) {
	for _, stream := range desc.Streams {
		if !stream.ClientStreams && !stream.ServerStreams {
			panic(fmt.Sprintf("auth: the method /%s/%s streams in neither direction, and would pass no interceptor: set ClientStreams or ServerStreams in its grpc.StreamDesc",
				desc.ServiceName, stream.StreamName))
		}
	}
	r.ServiceRegistrar.RegisterService(desc, impl)
}
