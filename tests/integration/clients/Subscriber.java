import java.io.FileInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.security.KeyStore;
import java.security.Security;
import java.security.cert.CertificateFactory;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Java's own WebSocket client: java Subscriber.java CERTIFICATE PORT TOPIC COUNT; echoes, then subscribes. */
public class Subscriber {
    static class Queue implements WebSocket.Listener {
        final LinkedBlockingQueue<String> messages = new LinkedBlockingQueue<>();
        final StringBuilder partial = new StringBuilder();

        @Override
        public CompletionStage<?> onText(WebSocket socket, CharSequence data, boolean last) {
            partial.append(data);
            if (last) {
                messages.add(partial.toString());
                partial.setLength(0);
            }
            socket.request(1);
            return null;
        }

        @Override
        public void onError(WebSocket socket, Throwable error) {
            messages.add("error " + error);
        }
    }

    public static void main(String[] arguments) throws Exception {
        // JSSE updates its keys, and asks for the peer's, each time so many bytes went either way.
        Security.setProperty("jdk.tls.keyLimits", "AES/GCM/NoPadding KeyUpdate 20000, ChaCha20-Poly1305 KeyUpdate 20000");
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null);
        try (FileInputStream in = new FileInputStream(arguments[0])) {
            store.setCertificateEntry("gateway", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        SSLContext context = SSLContext.getInstance("TLSv1.3");
        context.init(null, trust.getTrustManagers(), null);
        HttpClient client = HttpClient.newBuilder().sslContext(context).build();
        String base = "wss://127.0.0.1:" + arguments[1];

        Queue echoes = new Queue();
        WebSocket echo = client.newWebSocketBuilder().buildAsync(URI.create(base + "/echo"), echoes).get(20, TimeUnit.SECONDS);
        for (int i = 0; i < 200; i++) {
            String text = i + " " + "x".repeat(1000);
            echo.sendText(text, true).get(20, TimeUnit.SECONDS);
            if (!text.equals(echoes.messages.poll(20, TimeUnit.SECONDS)))
                throw new IllegalStateException("echo " + i + " is another");
        }
        echo.sendClose(WebSocket.NORMAL_CLOSURE, "").get(20, TimeUnit.SECONDS);

        Queue topic = new Queue();
        client.newWebSocketBuilder().buildAsync(URI.create(base + "/ws?topic=" + arguments[2]), topic).get(20, TimeUnit.SECONDS);
        System.out.println("subscribed");
        for (int i = 0; i < Integer.parseInt(arguments[3]); i++)
            System.out.println(topic.messages.poll(20, TimeUnit.SECONDS));
        System.exit(0);
    }
}
