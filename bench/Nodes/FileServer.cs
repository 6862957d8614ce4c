using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;

namespace Nodes;

/// <summary>Files by PUT and GET over HTTP/2 and TLS 1.3, and nothing more: what Kestrel takes for the bytes alone. A file is synced before the answer.</summary>
internal static class FileServer
{
    internal static async Task<int> RunAsync(string folder)
    {
        Directory.CreateDirectory(folder);
        using ECDsa key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=bench", key, HashAlgorithmName.SHA256);
        using X509Certificate2 made = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Limits.Http2.InitialConnectionWindowSize = 4 << 20; // as a node has them
            kestrel.Limits.Http2.InitialStreamWindowSize = 1 << 20;
            kestrel.Limits.Http2.MaxFrameSize = 64 << 10;
            kestrel.Listen(IPAddress.Loopback, 0, listen =>
            {
                listen.Protocols = HttpProtocols.Http2;
                listen.UseHttps(made);
            });
        });
        await using WebApplication application = builder.Build();
        application.Run(async http =>
        {
            string path = Path.Join(folder, Path.GetFileName(http.Request.Path.Value));
            if (http.Request.Method == "GET")
            {
                await http.Response.SendFileAsync(path);
                return;
            }

            await using var file = new FileStream(path, FileMode.Create, FileAccess.Write, FileShare.None, 0, FileOptions.Asynchronous);
            await http.Request.Body.CopyToAsync(file, 1 << 20);
            file.Flush(flushToDisk: true);
        });
        await application.StartAsync();
        Console.WriteLine(new Uri(application.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First()).Port);
        _ = await Console.In.ReadLineAsync();
        return 0;
    }
}
