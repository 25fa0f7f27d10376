# In the place of docker-proxy, which the private engine starts for each published port: it says so to the world outside
# of the jail, where the port then is on the job's localhost. What is for 127.0.0.1 would be for nobody there, so it is
# taken for every address of the jail.
p_words=
p_name=
for p_word; do
  case $p_name in
    -proto) p_protocol=$p_word ;;
    -host-port) p_port=$p_word ;;
    -host-ip) case $p_word in 127.*) p_word=0.0.0.0 ;; *:*) p_is_other=1 ;; esac ;;
  esac
  p_name=$p_word p_words="$p_words $p_word"
done
[ -z "${p_is_other:-}" ] || exec docker-proxy "$@"
trap 'kill $p_proxy' INT TERM
docker-proxy $p_words & p_proxy=$!
echo "+ $p_protocol $p_port" >/run/ports/asked
wait $p_proxy
wait $p_proxy
echo "- $p_protocol $p_port" >/run/ports/asked
