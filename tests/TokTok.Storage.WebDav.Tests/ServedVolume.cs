using System.Net.Http.Headers;
using System.Text;
using TokTok.Storage.Files;
using TokTok.Storage.Testing;

namespace TokTok.Storage.WebDav.Tests;

/// <summary>A volume in memory behind a server of this process, and a client that knows the token.</summary>
internal sealed class ServedVolume : IAsyncDisposable
{
    internal const string Token = "a token that is long enough";

    private readonly Volume _volume;
    private WebDavServer? _server;

    private ServedVolume(ManualClock? clock)
    {
        Clock = clock ?? TimeProvider.System;
        var store = new MemoryVolumeStore();
        _volume = Volume.Create(store, "v", store.Realm, new SeededRandom(1));
        Tree = ActiveTree.Open(store, _volume, Clock, new ActiveTreeOptions { CommitInterval = TimeSpan.Zero, Space = () => (1L << 40, FreeBytes) });
        Client = new HttpClient(new SocketsHttpHandler { AllowAutoRedirect = false });
        Client.DefaultRequestHeaders.Authorization = Basic("anybody", Token);
    }

    internal TimeProvider Clock { get; }

    internal ActiveTree Tree { get; }

    internal HttpClient Client { get; }

    internal List<string> Troubles { get; } = [];

    internal long FreeBytes { get; set; } = 1L << 39;

    internal Uri Url => _server!.Url;

    internal static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <param name="names">Serves the same volume under each of these names; none: as the only one.</param>
    internal static async Task<ServedVolume> StartAsync(ManualClock? clock = null, Func<WebDavOptions, WebDavOptions>? change = null, params string[] names)
    {
        var served = new ServedVolume(clock);
        var options = new WebDavOptions { Token = Encoding.ASCII.GetBytes(Token), Threads = 4, Trouble = said => { lock (served.Troubles) { served.Troubles.Add(said); } } };
        options = change?.Invoke(options) ?? options;
        served._server = names.Length == 0
            ? await WebDavServer.StartAsync(served.Tree, options, served.Clock, new SeededRandom(2), Cancel)
            : await WebDavServer.StartAsync(names.ToDictionary(static name => name, _ => (IVolumeFileSystem)served.Tree), options, served.Clock, new SeededRandom(2), Cancel);
        served.Client.BaseAddress = served.Url;
        return served;
    }

    internal static AuthenticationHeaderValue Basic(string user, string password) => new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes($"{user}:{password}")));

    /// <summary>Asks, with headers as "Name: value".</summary>
    internal async Task<Reply> AskAsync(string method, string path, string? body = null, params string[] headers)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        request.Content = body is null ? null : new StringContent(body, Encoding.UTF8, method == "PUT" ? "application/octet-stream" : "application/xml");
        foreach (string header in headers)
        {
            int colon = header.IndexOf(':', StringComparison.Ordinal);
            string name = header[..colon];
            string value = header[(colon + 1)..].Trim();
            Assert.True(request.Headers.TryAddWithoutValidation(name, value) || request.Content!.Headers.TryAddWithoutValidation(name, value));
        }

        using HttpResponseMessage response = await Client.SendAsync(request, Cancel);
        return new Reply(
            (int)response.StatusCode,
            Encoding.UTF8.GetString(await response.Content.ReadAsByteArrayAsync(Cancel)),
            response.Headers.Concat(response.Content.Headers).ToDictionary(static pair => pair.Key, static pair => string.Join(", ", pair.Value), StringComparer.OrdinalIgnoreCase));
    }

    /// <summary>Asks and expects a status.</summary>
    internal async Task<Reply> ExpectAsync(int status, string method, string path, string? body = null, params string[] headers)
    {
        Reply reply = await AskAsync(method, path, body, headers);
        Assert.True(reply.Status == status, $"{method} {path}: {reply.Status}, expected {status}: {reply.Body}{string.Join('\n', Troubles)}");
        return reply;
    }

    /// <summary>Locks and returns the token.</summary>
    internal async Task<string> LockAsync(string path, string scope = "exclusive", params string[] headers)
    {
        Reply reply = await AskAsync("LOCK", path, $"<lockinfo xmlns='DAV:'><lockscope><{scope}/></lockscope><locktype><write/></locktype><owner>me</owner></lockinfo>", headers);
        Assert.True(reply.Status is 200 or 201, $"LOCK {path}: {reply.Status} {reply.Body}");
        return reply.Headers["Lock-Token"].Trim('<', '>');
    }

    internal async Task StopAsync()
    {
        if (_server is not null)
        {
            await _server.DisposeAsync();
            _server = null;
        }
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await StopAsync();
        await Tree.DisposeAsync();
        _volume.Dispose();
    }
}

internal sealed record Reply(int Status, string Body, IReadOnlyDictionary<string, string> Headers)
{
    internal string Tag => Headers["ETag"];
}
